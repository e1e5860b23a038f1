use http::Method;
use mosn_expression::Expression;

use super::Names;
use super::header::check_name;
use super::route::only_first;
use super::variable;
use crate::document::At;
use crate::model::{
    HeaderMatchSpec, PathMatchSpec, QueryMatchSpec, RouteMatchSpec, ValueMatchSpec, VariableMatchSpec,
};
use crate::mosn::{HeaderMatcher, QueryMatcher, RouterMatch, VariableMatcher};

pub(super) fn route_match(at: &At<'_>, matches: &RouterMatch, names: &mut Names) -> RouteMatchSpec {
    only_first(
        at,
        &[
            ("prefix", !matches.prefix.is_empty()),
            ("path", !matches.path.is_empty()),
            ("regex", !matches.regex.is_empty()),
        ],
    );
    let path = if !matches.prefix.is_empty() {
        PathMatchSpec::Prefix(names.share(&matches.prefix))
    } else if !matches.path.is_empty() {
        PathMatchSpec::Exact(names.share(&matches.path))
    } else if !matches.regex.is_empty() {
        pattern(&at.key("regex"), &matches.regex, names);
        PathMatchSpec::Regex(names.share(&matches.regex))
    } else {
        PathMatchSpec::Any
    };
    let by_path = path != PathMatchSpec::Any;
    let mut spec = RouteMatchSpec { path, ..RouteMatchSpec::default() };
    // The first kind that is given decides, and MOSN looks at no other.
    let by_variables = !by_path && !matches.variables.is_empty();
    let by_expressions = !by_path && !by_variables && !matches.dsl_expressions.is_empty();
    let ignored = [
        ("variables", !matches.variables.is_empty() && !by_variables),
        ("dsl_expressions", !matches.dsl_expressions.is_empty() && !by_expressions),
        ("headers", !matches.headers.is_empty() && (by_variables || by_expressions)),
        ("query_parameters", !matches.query_parameters.is_empty() && (by_variables || by_expressions)),
    ];
    for (key, _) in ignored.into_iter().filter(|(_, ignored)| *ignored) {
        at.key(key).warning("has no effect beside prefix, path, regex, variables or dsl_expressions");
    }
    if by_variables {
        spec.variables = variables(&at.key("variables"), &matches.variables, names);
        return spec;
    }
    if by_expressions {
        let at = at.key("dsl_expressions");
        for (index, one) in matches.dsl_expressions.iter().enumerate() {
            let at = at.index(index);
            if let Err(error) = Expression::condition(&one.expression) {
                let message = format!("not a condition: {}", error.reason);
                at.key("expression").fault(&one.expression, error.column - 1, message, error.meant);
            }
            spec.expressions.push(names.share(&one.expression));
        }
        return spec;
    }
    let at_query = at.key("query_parameters");
    for (index, parameter) in matches.query_parameters.iter().enumerate() {
        spec.query.push(query(&at_query.index(index), parameter, names));
    }
    headers(&at.key("headers"), &matches.headers, by_path, &mut spec, names);
    spec
}

fn headers(
    at: &At<'_>,
    headers: &[HeaderMatcher],
    by_path: bool,
    spec: &mut RouteMatchSpec,
    names: &mut Names,
) {
    if !by_path
        && let [only] = headers
        && only.name == "service"
        && !is_ours(only)
        && !only.value.is_empty()
        && (!only.regex || only.value == ".*")
    {
        // RPC routes write `service: ".*"` for any service, with or without `regex`.
        let value = match only.value.as_str() {
            ".*" => ValueMatchSpec::NonEmpty,
            value => ValueMatchSpec::Exact(names.share(value)),
        };
        spec.headers.push(HeaderMatchSpec { name: names.share("service"), value, invert: false });
        return;
    }
    for (index, header) in headers.iter().enumerate() {
        let at = at.index(index);
        check_name(&at.key("name"), &header.name);
        let value = header_value(&at, header, names);
        if by_path && header.name.eq_ignore_ascii_case("method") {
            method(&at, header, &value, spec);
        } else {
            spec.headers.push(HeaderMatchSpec {
                name: names.share(&header.name),
                value,
                invert: header.invert_match,
            });
        }
    }
}

/// Whether it says more than MOSN's dialect can.
fn is_ours(header: &HeaderMatcher) -> bool {
    let plain = HeaderMatcher {
        name: header.name.clone(),
        value: header.value.clone(),
        regex: header.regex,
        ..HeaderMatcher::default()
    };
    *header != plain
}

/// In MOSN, `method` is the request's method, and compared byte for byte whatever `regex` says.
fn method(at: &At<'_>, header: &HeaderMatcher, value: &ValueMatchSpec, spec: &mut RouteMatchSpec) {
    if header.invert_match || !matches!(value, ValueMatchSpec::Exact(_) | ValueMatchSpec::Regex(_)) {
        at.error("the method can only be compared with a value");
        return;
    }
    match &spec.method {
        Some(method) if *method != header.value => {
            at.error(format!("the method cannot be both {method:?} and {:?}", header.value));
        }
        _ if !is_method(header) => {
            at.key("value").error(format!(
                "expected a method such as \"GET\", found {:?}: it is compared as it stands, so give each method a \
                 route of its own",
                header.value
            ));
        }
        _ => {
            if header.regex {
                at.key("regex").warning("has no effect: the method is compared as it stands");
            }
            spec.method = Some(header.value.clone());
        }
    }
}

/// Whether its value is a method and no pattern that is meant to match several.
fn is_method(header: &HeaderMatcher) -> bool {
    let plain = header.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    Method::from_bytes(header.value.as_bytes()).is_ok() && (plain || !header.regex)
}

fn header_value(at: &At<'_>, header: &HeaderMatcher, names: &mut Names) -> ValueMatchSpec {
    let mut given = Vec::new();
    let mut text = |key, text: &str, spec: fn(crate::model::Name) -> ValueMatchSpec| {
        if !text.is_empty() {
            given.push((key, spec(names.share(text))));
        }
    };
    text("prefix_match", &header.prefix_match, ValueMatchSpec::Prefix);
    text("suffix_match", &header.suffix_match, ValueMatchSpec::Suffix);
    text("contains_match", &header.contains_match, ValueMatchSpec::Contains);
    if header.present_match {
        given.push(("present_match", ValueMatchSpec::Present));
    }
    if let Some(range) = &header.range_match {
        if range.start >= range.end {
            at.key("range_match").error(format!("no number is from {} to below {}", range.start, range.end));
        }
        given.push(("range_match", ValueMatchSpec::Range(range.start, range.end)));
    }
    let plain = !header.value.is_empty() || header.regex;
    if given.len() + usize::from(plain) > 1 {
        let first = if plain { "value" } else { given[0].0 };
        let second = given[given.len() - 1].0;
        at.key(second).error(format!("cannot stand beside {first}: one condition for each entry"));
    }
    match given.pop() {
        Some((_, spec)) => spec,
        None => plain_value(&at.key("value"), &header.value, header.regex, names),
    }
}

fn plain_value(at: &At<'_>, value: &str, regex: bool, names: &mut Names) -> ValueMatchSpec {
    if regex {
        pattern(at, value, names);
        ValueMatchSpec::Regex(names.share(value))
    } else {
        ValueMatchSpec::Exact(names.share(value))
    }
}

fn query(at: &At<'_>, parameter: &QueryMatcher, names: &mut Names) -> QueryMatchSpec {
    if parameter.name.is_empty() {
        at.key("name").error("expected the name of a query parameter");
    }
    let value = if parameter.present_match {
        if !parameter.value.is_empty() {
            at.key("present_match").error("cannot stand beside value: one condition for each entry");
        }
        ValueMatchSpec::Present
    } else {
        plain_value(&at.key("value"), &parameter.value, parameter.regex, names)
    };
    QueryMatchSpec { name: names.share(&parameter.name), value }
}

/// `and` binds tighter than `or`, so that the list is one of groups.
fn variables(at: &At<'_>, items: &[VariableMatcher], names: &mut Names) -> Vec<Vec<VariableMatchSpec>> {
    let mut groups = vec![Vec::new()];
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let value = if !item.regex.is_empty() {
            if !item.value.is_empty() {
                at.key("value").warning("has no effect beside regex");
            }
            pattern(&at.key("regex"), &item.regex, names);
            Some(ValueMatchSpec::Regex(names.share(&item.regex)))
        } else if !item.value.is_empty() {
            Some(ValueMatchSpec::Exact(names.share(&item.value)))
        } else {
            at.warning("has neither value nor regex: it never holds");
            None
        };
        variable::condition(&at.key("name"), &item.name, names);
        if let Some(group) = groups.last_mut() {
            group.push(VariableMatchSpec { name: names.share(&item.name), value });
        }
        match item.model.to_ascii_lowercase().as_str() {
            "" | "and" => {}
            "or" if index + 1 < items.len() => groups.push(Vec::new()),
            "or" => {}
            _ => at.key("model").error(format!("expected \"and\" or \"or\", found {:?}", item.model)),
        }
    }
    groups
}

pub(super) fn pattern(at: &At<'_>, text: &str, names: &mut Names) {
    if let Err(error) = names.check_pattern(text) {
        let message = format!("not a regular expression: {}", error.reason);
        at.fault(text, error.offset.unwrap_or(0), message, None);
    }
}
