use std::collections::{HashMap, HashSet};

use mosn_config::model::Name;

use crate::{
    Route,
    condition::{Field, ValueCondition},
    route::PathRule,
};

/// More routes than this with one path are told apart by header first.
const CROWD: usize = 8;

/// What a route is found by.
pub(super) enum Place<'a> {
    /// A path that is this, case aside.
    Exact(&'a Name),
    /// A path that starts with this.
    Prefix(&'a Name),
    /// This header, by its number, with this value.
    Header(usize, &'a Name),
    /// A path that its regular expression matches.
    Regex,
    /// Nothing.
    Rest,
}

/// Decides which place tells a route best from the others.
pub(super) struct Keys<'a> {
    /// How many routes have a path rule of this kind and text.
    crowds: HashMap<(bool, &'a str), usize>,
    /// The headers that routes are found by.
    fields: Vec<Field>,
    /// How many different values routes want each header to have.
    variety: HashMap<Field, usize>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(routes: &'a [Route]) -> Self {
        let mut crowds: HashMap<_, usize> = HashMap::new();
        let mut values: HashMap<&Field, HashSet<&Name>> = HashMap::new();
        for route in routes {
            if let PathRule::Prefix(text) | PathRule::Exact(text) = &route.path {
                *crowds.entry((matches!(route.path, PathRule::Exact(_)), &**text)).or_default() += 1;
            }
            for (field, value) in exact_headers(route) {
                values.entry(field).or_default().insert(value);
            }
        }
        let variety = values.into_iter().map(|(field, values)| (field.clone(), values.len())).collect();
        let mut keys = Self { crowds, fields: Vec::new(), variety };
        for route in routes {
            if let Some((field, _)) = keys.header(route)
                && !keys.fields.contains(field)
            {
                keys.fields.push(field.clone());
            }
        }
        keys
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn place<'r>(&self, route: &'r Route) -> Place<'r> {
        if let Some((field, value)) = self.header(route)
            && let Some(number) = self.fields.iter().position(|candidate| candidate == field)
        {
            return Place::Header(number, value);
        }
        match &route.path {
            PathRule::Exact(text) => Place::Exact(text),
            PathRule::Prefix(prefix) => Place::Prefix(prefix),
            PathRule::Regex(_) => Place::Regex,
            PathRule::Any => Place::Rest,
        }
    }

    /// The header that a route is found by: the one whose values vary most.
    fn header<'r>(&self, route: &'r Route) -> Option<(&'r Field, &'r Name)> {
        let needed = match &route.path {
            PathRule::Any | PathRule::Regex(_) => true,
            PathRule::Exact(text) => self.crowds.get(&(true, text)).is_some_and(|&crowd| crowd > CROWD),
            PathRule::Prefix(text) => self.crowds.get(&(false, text)).is_some_and(|&crowd| crowd > CROWD),
        };
        needed
            .then(|| exact_headers(route).max_by_key(|(field, _)| self.variety.get(field).copied()))
            .flatten()
            .and_then(|(field, _)| Some((field, wanted(route, field)?)))
    }
}

/// The headers that must have a certain value.
fn exact_headers(route: &Route) -> impl Iterator<Item = (&Field, &Name)> {
    let headers = route.conditions.iter().flat_map(|conditions| &conditions.headers);
    headers.filter(|header| !header.invert).filter_map(|header| match &header.value {
        ValueCondition::Exact(value) => Some((&header.field, value)),
        _ => None,
    })
}

/// The value that this header must have for the route to match.
fn wanted<'r>(route: &'r Route, field: &Field) -> Option<&'r Name> {
    exact_headers(route).find(|(candidate, _)| *candidate == field).map(|(_, value)| value)
}
