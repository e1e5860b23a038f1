//! What expressions know of the request that a route is looked for.

use std::{borrow::Cow, time::SystemTime};

use jiff::Timestamp;
use mosn_core::{Protocol, RequestInfo};
use mosn_expression::{Attribute, Attributes, Value};

use crate::{
    Subject,
    path::{self, Buffer},
    query,
};

/// A request's facts while there is no route yet: nothing is known of a host or a reply.
pub(crate) struct Facts<'a, S: ?Sized>(pub(crate) &'a S);

impl<S: Subject + ?Sized> Facts<'_, S> {
    /// As rules see it.
    fn path(&self) -> Cow<'_, [u8]> {
        let raw = path::split(self.0.path()).0;
        let mut buffer = Buffer::new();
        let canonical = path::canonical(raw, &mut buffer);
        if canonical.untouched { Cow::Borrowed(raw) } else { Cow::Owned(canonical.path.to_vec()) }
    }

    fn query(&self) -> &[u8] {
        path::split(self.0.path()).1.unwrap_or_default()
    }

    fn info(&self, of: impl FnOnce(&RequestInfo) -> Option<Value<'static>>) -> Option<Value<'_>> {
        self.0.info().and_then(of)
    }
}

impl<S: Subject + ?Sized> Attributes for Facts<'_, S> {
    fn get(&self, attribute: Attribute) -> Option<Value<'_>> {
        match attribute {
            Attribute::RequestPath => text(self.path()),
            Attribute::RequestUrlPath => {
                let (path, query) = (self.path(), self.query());
                if query.is_empty() || path.is_empty() {
                    return text(path);
                }
                text(Cow::Owned([&path, &b"?"[..], query].concat()))
            }
            Attribute::RequestMethod => text(Cow::Borrowed(self.0.method())),
            Attribute::RequestHost => text(Cow::Borrowed(self.0.authority())),
            Attribute::RequestTotalSize => int(self.0.headers_size().1 as u64),
            Attribute::RequestSize => self.info(|info| int(info.bytes_received)),
            Attribute::RequestTime => self.info(|info| moment(info.start_wall)),
            Attribute::OriginIp => self.info(|info| Some(Value::Ip(Some(info.connection.local?.ip())))),
            Attribute::ContextProtocol => self.info(|info| {
                let names = [(Protocol::Http1, "http"), (Protocol::Http2, "h2")];
                let name = names.into_iter().find(|(protocol, _)| *protocol == info.protocol);
                Some(name.map_or(info.protocol.name(), |(_, name)| name).into())
            }),
            _ => None,
        }
    }

    fn entry(&self, map: Attribute, key: &str) -> Option<Cow<'_, [u8]>> {
        match map {
            Attribute::RequestHeaders => self.0.header(key),
            Attribute::RequestQueryParams => {
                query::argument(self.query(), key, <[u8]>::to_vec).map(Cow::Owned)
            }
            _ => None,
        }
    }

    fn entries(&self, map: Attribute) -> Option<usize> {
        match map {
            Attribute::RequestHeaders => Some(self.0.headers_size().0),
            Attribute::RequestQueryParams => {
                let names = self.query().split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).count();
                Some(names).filter(|&names| names > 0)
            }
            _ => None,
        }
    }
}

/// What is empty is not there, as in MOSN.
fn text(bytes: Cow<'_, [u8]>) -> Option<Value<'_>> {
    Some(bytes).filter(|bytes| !bytes.is_empty()).map(Value::String)
}

fn int(number: u64) -> Option<Value<'static>> {
    i64::try_from(number).ok().map(Value::Int)
}

fn moment(at: SystemTime) -> Option<Value<'static>> {
    Timestamp::try_from(at).ok().map(Value::Timestamp)
}
