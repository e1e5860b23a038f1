//! Variables by name: whether there is one, and whether it can have a value where it is used.

use mosn_core::{Protocol, Variable};

use super::{Names, Users};
use crate::document::At;
use crate::problem::Severity;

/// In a route's condition.
pub(super) fn condition(at: &At<'_>, name: &str, names: &Names) {
    if let Some(variable) = known(at, Severity::Error, name, "")
        && let Some(why) = never_set(&variable, names)
    {
        at.warning(format!("counts as empty: {why}"));
    }
}

/// As the name of the cluster.
pub(super) fn cluster(at: &At<'_>, name: &str, names: &Names) {
    if let Some(variable) = known(at, Severity::Error, name, "")
        && let Some(why) = never_text(&variable, names)
    {
        at.warning(format!("names no cluster, so that requests are answered 404: {why}"));
    }
}

/// As the value of a header that is added to requests or to replies.
pub(super) fn header_value(at: &At<'_>, value: &str, to_reply: bool, names: &Names) {
    let Some(name) = value.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) else {
        let inner = value.split('%').skip(1).find(|part| Variable::parse(part).is_some());
        if let Some(name) = inner {
            at.warning(format!(
                "is sent as it stands: a variable is the whole value, as \"%{name}%\", or none"
            ));
        }
        return;
    };
    let Some(variable) = known(at, Severity::Warning, name, ": the text is sent as it stands") else {
        return;
    };
    let early = !to_reply && matches!(variable, Variable::ResponseHeader(_));
    let why = never_text(&variable, names)
        .or_else(|| early.then(|| "there is no reply yet when the request goes up".to_owned()));
    if let Some(why) = why {
        at.warning(format!("is empty: {why}"));
    }
}

/// In the format of an access log of a listener that speaks `protocols`.
pub(super) fn logged(at: &At<'_>, name: &str, protocols: &[Protocol]) {
    if let Some(variable) = known(at, Severity::Warning, name, ": \"-\" is printed")
        && let Some(why) =
            unset(&variable).or_else(|| spoken_by_none(&variable, protocols, "the listener does"))
    {
        at.warning(format!("%{name}% prints \"-\": {why}"));
    }
}

fn known(at: &At<'_>, severity: Severity, name: &str, effect: &str) -> Option<Variable> {
    let variable = Variable::parse(name);
    if variable.is_none() {
        at.unknown(severity, format!("there is no variable {name:?}{effect}"), name, Variable::names());
    }
    variable
}

fn never_text(variable: &Variable, names: &Names) -> Option<String> {
    let number = (!variable.is_text()).then(|| "it is a number, which only access logs show".to_owned());
    number.or_else(|| never_set(variable, names))
}

/// Why a variable has no value in any request of the table that is being read.
fn never_set(variable: &Variable, names: &Names) -> Option<String> {
    let of_users = |users: &Users| spoken_by_none(variable, &users.protocols, "listeners of this table do");
    unset(variable).or_else(|| names.users.as_ref().and_then(of_users))
}

fn unset(variable: &Variable) -> Option<String> {
    (*variable == Variable::Unset).then(|| "nothing in this build sets it".to_owned())
}

fn spoken_by_none(variable: &Variable, protocols: &[Protocol], who: &str) -> Option<String> {
    match variable {
        Variable::Only(protocol, _) if !protocols.is_empty() && !protocols.contains(protocol) => {
            Some(format!("only {} requests have it, and {who} not speak {0}", protocol.name()))
        }
        _ => None,
    }
}
