use std::cell::RefCell;

use regex_automata::{
    Input, MatchKind, PatternSet,
    meta::{Config, Regex},
    util::syntax,
};

use super::Search;
use crate::{Route, Subject, route::PathRule};

/// Routes by regular expression over the path.
#[derive(Debug, Default)]
pub(super) struct Regexes {
    groups: Box<[Group]>,
}

/// Routes that come one after the other among those with a regular expression.
#[derive(Debug)]
struct Group {
    /// Ascending.
    ids: Box<[u32]>,
    /// All of them at once; `None` where that would not pay or not fit.
    set: Option<Regex>,
}

/// As many as one automaton can take without growing out of its cache.
const GROUP: usize = 128;

/// Fewer are faster one by one.
const FEWEST: usize = 4;

thread_local! {
    /// Which of a group's patterns match; kept so that a search does not allocate.
    static MATCHED: RefCell<PatternSet> = RefCell::new(PatternSet::new(GROUP));
}

impl Regexes {
    pub(super) fn build(ids: Vec<u32>, routes: &[Route]) -> Self {
        let groups = ids.chunks(GROUP).map(|ids| {
            let patterns: Vec<String> = ids
                .iter()
                .filter_map(|&id| match &routes[id as usize].path {
                    PathRule::Regex(regex) => Some(regex.as_str().to_owned()),
                    _ => None,
                })
                .collect();
            let set = (patterns.len() >= FEWEST).then(|| set(&patterns)).flatten();
            Group { ids: ids.into(), set }
        });
        Self { groups: groups.collect() }
    }

    pub(super) fn find<S: Subject + ?Sized>(&self, search: &mut Search<'_, S>) {
        for group in &self.groups {
            if group.ids[0] >= search.best {
                return;
            }
            match &group.set {
                None => search.first(&group.ids, Route::matches),
                Some(set) => MATCHED.with_borrow_mut(|matched| group.find(set, matched, search)),
            }
        }
    }
}

impl Group {
    fn find<S: Subject + ?Sized>(&self, set: &Regex, matched: &mut PatternSet, search: &mut Search<'_, S>) {
        matched.clear();
        set.which_overlapping_matches(&Input::new(search.path), matched);
        for pattern in matched.iter() {
            let id = self.ids[pattern.as_usize()];
            if id >= search.best {
                return;
            }
            search.first(&[id], |route, _, subject| route.conditions_hold(subject));
        }
    }
}

/// The patterns are in the crate's own dialect already.
fn set(patterns: &[String]) -> Option<Regex> {
    Regex::builder()
        .configure(Config::new().match_kind(MatchKind::All).utf8_empty(false).nfa_size_limit(Some(10 << 20)))
        .syntax(syntax::Config::new().utf8(false))
        .build_many(patterns)
        .ok()
}
