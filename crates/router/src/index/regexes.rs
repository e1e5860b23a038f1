use std::cell::RefCell;

use regex_automata::{
    Anchored, Input, MatchKind, PatternSet,
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
    finder: Finder,
}

#[derive(Debug)]
enum Finder {
    /// None of the routes asks for more: the first pattern that matches decides.
    First(Regex),
    /// Every pattern that matches counts, until a route gets what else it asks for.
    All(Regex),
    /// One by one, where the others would not pay or not fit.
    Each,
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
        let groups = ids.chunks(GROUP).map(|ids| Group { ids: ids.into(), finder: Finder::of(ids, routes) });
        Self { groups: groups.collect() }
    }

    pub(super) fn find<S: Subject + ?Sized>(&self, search: &mut Search<'_, S>) {
        for group in &self.groups {
            if group.ids[0] >= search.best {
                return;
            }
            match &group.finder {
                Finder::First(regex) => group.find_first(regex, search),
                Finder::All(regex) => {
                    MATCHED.with_borrow_mut(|matched| group.find_all(regex, matched, search));
                }
                Finder::Each => search.first(&group.ids, Route::matches),
            }
        }
    }
}

impl Finder {
    fn of(ids: &[u32], routes: &[Route]) -> Self {
        if ids.len() < FEWEST {
            return Self::Each;
        }
        let routes = || ids.iter().map(|&id| &routes[id as usize]);
        let patterns = routes().filter_map(|route| match &route.path {
            PathRule::Regex(regex) => Some(regex.as_str()),
            _ => None,
        });
        let patterns: Vec<_> = patterns.collect();
        let first = || {
            // Of several that match at one place the first counts, so they are made to match at one.
            // Where a comment ends a pattern, this is no pattern.
            let from_the_start: Vec<_> =
                patterns.iter().map(|pattern| format!("(?s-u:.)*?(?:{pattern})")).collect();
            compile(&from_the_start, MatchKind::LeftmostFirst).map(Self::First)
        };
        let first = routes().all(|route| route.conditions.is_none()).then(first).flatten();
        first.or_else(|| compile(&patterns, MatchKind::All).map(Self::All)).unwrap_or(Self::Each)
    }
}

impl Group {
    fn find_first<S: Subject + ?Sized>(&self, regex: &Regex, search: &mut Search<'_, S>) {
        let input = Input::new(search.path).anchored(Anchored::Yes);
        if let Some(found) = regex.search_half(&input) {
            search.best = search.best.min(self.ids[found.pattern().as_usize()]);
        }
    }

    fn find_all<S: Subject + ?Sized>(
        &self,
        regex: &Regex,
        matched: &mut PatternSet,
        search: &mut Search<'_, S>,
    ) {
        matched.clear();
        regex.which_overlapping_matches(&Input::new(search.path), matched);
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
fn compile(patterns: &[impl AsRef<str>], kind: MatchKind) -> Option<Regex> {
    Regex::builder()
        .configure(Config::new().match_kind(kind).utf8_empty(false).nfa_size_limit(Some(10 << 20)))
        .syntax(syntax::Config::new().utf8(false))
        .build_many(patterns)
        .ok()
}
