use super::{Names, variable};
use crate::document::At;
use crate::model::{HeaderAddSpec, HeaderMutations, HeaderMutationsSpec, Name};
use crate::mosn::HeaderValueOption;

/// The four lists of header changes that a table, a virtual host and a route each have.
pub(super) struct Lists<'c> {
    pub(super) request_add: &'c [HeaderValueOption],
    pub(super) request_remove: &'c [String],
    pub(super) response_add: &'c [HeaderValueOption],
    pub(super) response_remove: &'c [String],
}

/// The header changes of `$from`.
macro_rules! lists {
    ($from:expr) => {
        $crate::translate::header::Lists {
            request_add: &$from.request_headers_to_add,
            request_remove: &$from.request_headers_to_remove,
            response_add: &$from.response_headers_to_add,
            response_remove: &$from.response_headers_to_remove,
        }
    };
}
pub(super) use lists;

pub(super) fn mutations(at: &At<'_>, lists: &Lists<'_>, names: &mut Names) -> HeaderMutationsSpec {
    if lists.request_add.is_empty()
        && lists.request_remove.is_empty()
        && lists.response_add.is_empty()
        && lists.response_remove.is_empty()
    {
        return HeaderMutationsSpec::default();
    }
    HeaderMutationsSpec {
        inner: Some(Box::new(HeaderMutations {
            request_add: additions(&at.key("request_headers_to_add"), lists.request_add, false, names),
            request_remove: removals(&at.key("request_headers_to_remove"), lists.request_remove, names),
            response_add: additions(&at.key("response_headers_to_add"), lists.response_add, true, names),
            response_remove: removals(&at.key("response_headers_to_remove"), lists.response_remove, names),
        })),
    }
}

fn additions(
    at: &At<'_>,
    list: &[HeaderValueOption],
    to_reply: bool,
    names: &mut Names,
) -> Vec<HeaderAddSpec> {
    let mut added = Vec::with_capacity(list.len());
    for (index, option) in list.iter().enumerate() {
        let at = at.index(index);
        let header = &option.header;
        let at_header = at.key("header");
        check_name(&at_header.key("key"), &header.key);
        if HeaderAddSpec::FRAMING.iter().any(|name| name.eq_ignore_ascii_case(&header.key)) {
            let message = format!("{:?} belongs to the connection: the proxy writes it itself", header.key);
            at_header.key("key").error(message);
        }
        let at_value = at_header.key("value");
        match header.value.bytes().position(|b| b != b'\t' && (b < b' ' || b == 0x7f)) {
            Some(place) => {
                at_value.fault(
                    &header.value,
                    place,
                    "a header's value must not hold control characters",
                    None,
                );
            }
            None => variable::header_value(&at_value, &header.value, to_reply, names),
        }
        added.push(HeaderAddSpec {
            name: names.share(&header.key.to_ascii_lowercase()),
            value: names.share(&header.value),
            append: option.append.unwrap_or(true),
        });
    }
    added
}

fn removals(at: &At<'_>, list: &[String], names: &mut Names) -> Vec<Name> {
    let mut removed = Vec::with_capacity(list.len());
    for (index, name) in list.iter().enumerate() {
        check_name(&at.index(index), name);
        removed.push(names.share(&name.to_ascii_lowercase()));
    }
    removed
}

pub(super) fn check_name(at: &At<'_>, name: &str) {
    check_token(at, name, "a header name");
}

/// `what` it is to be, with its article.
pub(super) fn check_token(at: &At<'_>, text: &str, what: &str) {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        at.error(format!("expected {what}, found {text:?}"));
    }
}
