use std::collections::HashMap;

use mosn_config::model::Name;

use super::{List, Search};
use crate::{Route, Subject};

/// Routes by path prefix: a radix tree that leads to the longest prefix of a path, and from each
/// prefix the way to the shorter ones.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// The root first, the children of each node one after the other.
    nodes: Box<[Node]>,
    /// Of each node but the root, the byte that leads to it from its parent.
    steps: Box<[u8]>,
    /// The labels of all nodes.
    labels: Box<[u8]>,
    ends: Box<[End]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// What follows the step to it: a range of `labels`.
    label: (u32, u32),
    /// A range of `nodes`.
    children: (u32, u32),
    /// The prefix that ends here.
    end: Option<u32>,
}

/// A prefix.
#[derive(Debug)]
struct End {
    /// The longest other prefix that it starts with.
    parent: Option<u32>,
    /// The first route of this prefix or of any parent that asks for nothing else.
    first: u32,
    /// The routes of this prefix that ask for more; empty if there are none.
    conditional: List,
    /// The nearest parent, or this itself, that has such routes.
    next_conditional: Option<u32>,
}

impl Prefixes {
    /// `prefixes` are the routes of each; their lists are added to `lists`.
    pub(super) fn build(prefixes: HashMap<Name, Vec<u32>>, routes: &[Route], lists: &mut Vec<u32>) -> Self {
        let mut prefixes: Vec<_> = prefixes.into_iter().collect();
        prefixes.sort_unstable();
        let mut ends: Vec<End> = Vec::with_capacity(prefixes.len());
        let mut open: Vec<u32> = Vec::new();
        for (index, (prefix, ids)) in (0..).zip(&prefixes) {
            while open.last().is_some_and(|&last| !prefix.starts_with(&*prefixes[last as usize].0)) {
                open.pop();
            }
            let parent = open.last().copied();
            let above = parent.map(|parent| &ends[parent as usize]);
            let (plain, conditional): (Vec<u32>, Vec<u32>) =
                ids.iter().partition(|&&id| routes[id as usize].conditions.is_none());
            let first = plain.first().copied().unwrap_or(u32::MAX);
            ends.push(End {
                parent,
                first: first.min(above.map_or(u32::MAX, |above| above.first)),
                next_conditional: match conditional.is_empty() {
                    true => above.and_then(|above| above.next_conditional),
                    false => Some(index),
                },
                conditional: List::add(lists, &conditional),
            });
            open.push(index);
        }
        let texts: Vec<&[u8]> = prefixes.iter().map(|(prefix, _)| prefix.as_bytes()).collect();
        Self { ends: ends.into_boxed_slice(), ..Self::tree(&texts) }
    }

    /// `texts` are sorted and differ.
    fn tree(texts: &[&[u8]]) -> Self {
        let mut labels = Vec::new();
        let mut steps = Vec::new();
        let mut nodes: Vec<Node> = Vec::new();
        // Ranges of texts that become nodes, with how much of them the way there has taken.
        let mut pending = std::collections::VecDeque::new();
        if !texts.is_empty() {
            pending.push_back((0, texts.len(), 0));
            steps.push(0);
        }
        while let Some((start, end, taken)) = pending.pop_front() {
            let (first, last) = (texts[start], texts[end - 1]);
            let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let label = labels.len() as u32;
            labels.extend_from_slice(&first[taken..shared]);
            let mut at = start + usize::from(first.len() == shared);
            // The nodes that wait come before the children of this one.
            let children = (nodes.len() + 1 + pending.len()) as u32;
            let mut node = Node {
                label: (label, labels.len() as u32),
                children: (children, children),
                end: (at > start).then_some(start as u32),
            };
            while at < end {
                let step = texts[at][shared];
                let next = at + texts[at..end].partition_point(|text| text[shared] == step);
                pending.push_back((at, next, shared + 1));
                steps.push(step);
                node.children.1 += 1;
                at = next;
            }
            nodes.push(node);
        }
        Self { nodes: nodes.into(), steps: steps.into(), labels: labels.into(), ends: Box::default() }
    }

    pub(super) fn find<S: Subject + ?Sized>(&self, lists: &[u32], search: &mut Search<'_, S>) {
        let Some(longest) = self.longest(search.path) else { return };
        search.best = search.best.min(longest.first);
        let mut next = longest.next_conditional;
        while let Some(index) = next {
            let end = &self.ends[index as usize];
            search.first(&lists[end.conditional.range()], |route, _, subject| route.conditions_hold(subject));
            next = end.parent.and_then(|parent| self.ends[parent as usize].next_conditional);
        }
    }

    /// The longest prefix of `path`.
    fn longest(&self, path: &[u8]) -> Option<&End> {
        let mut node = self.nodes.first()?;
        let mut rest = path;
        let mut found = None;
        loop {
            let label = &self.labels[node.label.0 as usize..node.label.1 as usize];
            let Some(after) = rest.strip_prefix(label) else { break };
            found = node.end.or(found);
            let Some((step, after)) = after.split_first() else { break };
            let children = node.children.0 as usize..node.children.1 as usize;
            let steps = &self.steps[children.clone()];
            let Some(child) = steps.iter().position(|candidate| candidate == step) else { break };
            node = &self.nodes[children.start + child];
            rest = after;
        }
        found.map(|found| &self.ends[found as usize])
    }
}
