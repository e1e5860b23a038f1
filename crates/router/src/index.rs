//! Finding the first route that matches without asking them all.

mod keys;
mod prefixes;
mod regexes;
mod texts;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    ops::Range,
};

use ahash::RandomState;
use mosn_config::model::Name;

use self::{
    keys::{Keys, Place},
    prefixes::Prefixes,
    regexes::Regexes,
    texts::Texts,
};
use crate::{Route, Subject, condition::Field, fold};

/// Where each route of a virtual host can be found. Every route is in exactly one place, under
/// something that a request must have for the route to match; what else it asks for is checked
/// when it is found there. The first match in configuration order is the first of all places'.
#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    /// The lists that the places refer to, each ascending.
    lists: Box<[u32]>,
    /// By path, case aside.
    exact: Texts,
    prefixes: Prefixes,
    /// By value, for each header that routes want to have a certain one.
    headers: Box<[(Field, Texts)]>,
    regexes: Regexes,
    /// Those that nothing leads to.
    rest: Box<[u32]>,
}

/// A range of [`Index::lists`] or of another list.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    start: u32,
    end: u32,
}

impl List {
    fn add(lists: &mut Vec<u32>, ids: &[u32]) -> Self {
        let start = lists.len() as u32;
        lists.extend_from_slice(ids);
        Self { start, end: lists.len() as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Index {
    pub(crate) fn of(routes: &[Route]) -> Self {
        let hasher = RandomState::new();
        let keys = Keys::of(routes);
        let mut exact: HashMap<String, Vec<u32>> = HashMap::new();
        let mut prefixes: HashMap<Name, Vec<u32>> = HashMap::new();
        let mut headers: Vec<HashMap<Name, Vec<u32>>> = vec![HashMap::new(); keys.fields().len()];
        let (mut regexes, mut rest) = (Vec::new(), Vec::new());
        for (id, route) in (0..).zip(routes) {
            match keys.place(route) {
                Place::Exact(text) => exact.entry(fold::text(text)).or_default().push(id),
                Place::Prefix(prefix) => prefixes.entry(prefix.clone()).or_default().push(id),
                Place::Header(field, value) => headers[field].entry(value.clone()).or_default().push(id),
                Place::Regex => regexes.push(id),
                Place::Rest => rest.push(id),
            }
        }
        let mut lists = Vec::with_capacity(routes.len());
        let exact = Texts::build(
            exact,
            &mut lists,
            |id| routes[id as usize].conditions.is_none(),
            |text| hash_path(&hasher, text.as_bytes()),
        );
        let headers = keys.fields().iter().zip(headers).map(|(field, values)| {
            let plain = |id| routes[id as usize].asks_one_header();
            (
                field.clone(),
                Texts::build(values, &mut lists, plain, |value| hasher.hash_one(value.as_bytes())),
            )
        });
        let headers = headers.collect();
        Self {
            exact,
            headers,
            prefixes: Prefixes::build(prefixes, routes, &mut lists),
            regexes: Regexes::build(regexes, routes),
            rest: rest.into_boxed_slice(),
            lists: lists.into_boxed_slice(),
            hasher,
        }
    }

    /// What a scan would find. `path` is the canonical one.
    pub(crate) fn find<'r, S: Subject + ?Sized>(
        &self,
        routes: &'r [Route],
        path: &[u8],
        subject: &S,
    ) -> Option<&'r Route> {
        let mut search = Search { routes, subject, path, best: routes.len() as u32 };
        if !path.is_empty() {
            self.exact(&mut search);
            self.prefixes.find(&self.lists, &mut search);
        }
        for (field, values) in &self.headers {
            self.header(field, values, &mut search);
        }
        search.first(&self.rest, Route::matches);
        if !path.is_empty() {
            self.regexes.find(&mut search);
        }
        routes.get(search.best as usize)
    }

    fn exact<S: Subject + ?Sized>(&self, search: &mut Search<'_, S>) {
        if self.exact.is_empty() {
            return;
        }
        self.exact.find(
            hash_path(&self.hasher, search.path),
            |text| fold::eq(search.path, text),
            |route, _, subject| route.conditions_hold(subject),
            &self.lists,
            search,
        );
    }

    fn header<S: Subject + ?Sized>(&self, field: &Field, values: &Texts, search: &mut Search<'_, S>) {
        let Some(value) = field.get(search.subject) else { return };
        let hash = self.hasher.hash_one(&*value);
        values.find(hash, |text| text.as_bytes() == &*value, Route::matches, &self.lists, search);
    }
}

/// A search and its best answer so far.
struct Search<'a, S: ?Sized> {
    routes: &'a [Route],
    subject: &'a S,
    path: &'a [u8],
    /// What is found later must come before this.
    best: u32,
}

impl<S: Subject + ?Sized> Search<'_, S> {
    /// The first of `ids`, which ascend, that `matches`, if it comes before the best.
    fn first(&mut self, ids: &[u32], matches: impl Fn(&Route, &[u8], &S) -> bool) {
        let before = ids.iter().take_while(|&&id| id < self.best);
        let found = before.copied().find(|&id| matches(&self.routes[id as usize], self.path, self.subject));
        self.best = found.unwrap_or(self.best);
    }
}

fn hash_path(hasher: &RandomState, path: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    fold::hash(path, &mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
