//! What the fields of a block make: a request, a reply, trailers (RFC 9113 8).

use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_core::{BodyLength, Failure, FieldList, FieldRanges, Headers, RequestHead, Scheme};

use super::hpack::{DecodeError, Decoder, Field, Known};
use crate::http1::valid_host;

/// Fields of an ordinary message.
const USUAL_FIELDS: usize = 12;

/// How large a request's head may be, beyond what is collected at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Header fields.
    pub fields: usize,
    /// Bytes of `:path`.
    pub uri: usize,
}

/// Why a block makes no request that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRefusal {
    /// It breaks HTTP/2's rules: the stream ends without an answer (RFC 9113 8.1.1).
    Malformed,
    /// It can be answered with a status.
    Refused(Failure),
}

/// A block that makes no reply, or no trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A reply's head.
#[derive(Debug)]
pub struct Response {
    /// The status; 1xx are interim.
    pub status: StatusCode,
    /// The fields.
    pub headers: Headers,
    /// The length that it claims.
    pub content_length: Option<u64>,
}

/// The fields of one block.
#[derive(Debug)]
pub struct Fields<'t> {
    text: &'t mut Vec<u8>,
    ranges: FieldRanges,
    /// As RFC 9113 6.5.2 counts.
    list_size: usize,
    limit: usize,
    malformed: bool,
    /// Whether there was a field that is no pseudo-header field.
    regular: bool,
    method: Option<Method>,
    scheme: bool,
    authority: Option<Range>,
    path: Option<Range>,
    protocol: Option<Range>,
    status: Option<StatusCode>,
    host: Option<Range>,
    content_length: Option<u64>,
    /// Whether a second field claimed the same length.
    repeated_length: bool,
    cookies: usize,
    /// Whether one of them must not be compressed with others.
    secret_cookie: bool,
    expects_continue: bool,
}

/// Start and length.
type Range = (usize, usize);

impl<'t> Fields<'t> {
    /// Decodes a block, using `text` to put fields together. Of a list that is larger than `limit` the
    /// rest is only decoded.
    ///
    /// # Errors
    /// When the connection's compression is broken.
    pub fn decode(
        decoder: &mut Decoder,
        block: &[u8],
        limit: u32,
        text: &'t mut Vec<u8>,
    ) -> Result<Self, DecodeError> {
        text.clear();
        let mut fields = Self {
            text,
            ranges: FieldRanges::with_capacity(USUAL_FIELDS),
            list_size: 0,
            limit: limit as usize,
            malformed: false,
            regular: false,
            method: None,
            scheme: false,
            authority: None,
            path: None,
            protocol: None,
            status: None,
            host: None,
            content_length: None,
            repeated_length: false,
            cookies: 0,
            secret_cookie: false,
            expects_continue: false,
        };
        decoder.decode(block, |field| fields.take(field))?;
        Ok(fields)
    }

    fn take(&mut self, field: Field<'_>) {
        self.list_size += field.text.len() - 4 + 32;
        if self.list_size > self.limit {
            return;
        }
        if !field.valid {
            self.malformed = true;
            return;
        }
        if field.known == Known::Other {
            self.regular = true;
            self.push(field);
        } else if field.known.is_pseudo() {
            self.pseudo(field);
        } else {
            self.regular = true;
            self.known(field);
        }
    }

    fn push(&mut self, field: Field<'_>) -> Range {
        let start = self.text.len();
        let value = (start + field.name_len + 2, field.text.len() - field.name_len - 4);
        self.text.extend_from_slice(field.text);
        self.ranges.push((start, field.name_len), value, field.sensitive);
        value
    }

    fn pseudo(&mut self, field: Field<'_>) {
        let value = field.value();
        let slot = match field.known {
            Known::Authority => &mut self.authority,
            Known::Path => &mut self.path,
            Known::Protocol => &mut self.protocol,
            known => {
                self.malformed |= self.regular
                    || match known {
                        Known::Method => {
                            let again = self.method.is_some();
                            self.method = Method::from_bytes(value).ok();
                            again || self.method.is_none()
                        }
                        Known::Scheme => {
                            let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                            let valid = !value.is_empty() && value.iter().all(token);
                            !valid || std::mem::replace(&mut self.scheme, true)
                        }
                        Known::Status => {
                            let again = self.status.is_some();
                            self.status = StatusCode::from_bytes(value).ok();
                            again || self.status.is_none()
                        }
                        _ => true,
                    };
                return;
            }
        };
        self.malformed |= self.regular || slot.is_some();
        *slot = Some((self.text.len(), value.len()));
        self.text.extend_from_slice(value);
    }

    fn known(&mut self, field: Field<'_>) {
        let value = field.value();
        match field.known {
            Known::Connection => self.malformed = true,
            Known::Te => {
                self.malformed |= !value.eq_ignore_ascii_case(b"trailers");
                self.push(field);
            }
            Known::Host => {
                self.malformed |= self.host.is_some();
                self.host = Some(self.push(field));
            }
            Known::ContentLength => {
                let length = content_length(value);
                self.malformed |= length.is_none();
                if self.content_length.is_some() {
                    self.malformed |= self.content_length != length;
                    self.repeated_length = true;
                    return;
                }
                self.content_length = length;
                self.push(field);
            }
            Known::Cookie => {
                self.cookies += 1;
                self.secret_cookie |= field.sensitive;
                self.push(field);
            }
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
            _ => {
                self.push(field);
            }
        }
    }

    /// The fields of a request that came over `scheme`.
    ///
    /// # Errors
    /// See [`RequestRefusal`].
    pub fn into_request(
        mut self,
        scheme: Scheme,
        limits: HeadLimits,
        end_stream: bool,
    ) -> Result<Box<RequestHead>, RequestRefusal> {
        use RequestRefusal::{Malformed, Refused};
        if self.malformed || self.status.is_some() || self.repeated_length {
            return Err(Malformed);
        }
        if self.list_size > self.limit || self.ranges.len() > limits.fields {
            return Err(Refused(Failure::HeaderTooLarge));
        }
        let method = self.method.take().ok_or(Malformed)?;
        let connect = method == Method::CONNECT;
        let tunnel = self.protocol.is_some();
        if connect && !tunnel {
            if self.scheme || self.path.is_some() || self.authority.is_none() {
                return Err(Malformed);
            }
        } else if !self.scheme || self.path.is_none() || (tunnel && !connect) {
            return Err(Malformed);
        }
        let authority = self.authority.filter(|(_, length)| *length > 0);
        let host = self.host;
        if let Some(host) = host {
            self.ranges.retain(|_, value| value != host);
        }
        let (authority, path) = (authority.or(host).unwrap_or_default(), self.path.unwrap_or_default());
        let at = |(start, length): Range| &self.text[start..start + length];
        if self.protocol.is_some_and(|protocol| !valid_protocol(at(protocol))) {
            return Err(Refused(Failure::BadRequest));
        }
        if !valid_host(at(authority)) {
            return Err(Refused(Failure::BadRequest));
        }
        if path.1 > limits.uri {
            return Err(Refused(Failure::UriTooLong));
        }
        if self.path.is_some() {
            match at(path) {
                [b'/', ..] => {}
                b"*" if method == Method::OPTIONS => {}
                _ => return Err(Malformed),
            }
            if !at(path).iter().fold(true, |fine, byte| fine & (0x21..0x7f).contains(byte) & (*byte != b'#'))
            {
                return Err(Refused(Failure::BadRequest));
            }
        }
        let body = match self.content_length {
            Some(length) if end_stream && length > 0 => return Err(Malformed),
            _ if end_stream => BodyLength::Empty,
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Unknown,
        };
        let (protocol, expects_continue) = (self.protocol, self.expects_continue);
        let (block, headers) = self.finish();
        let slice = |(start, length): Range| block.slice(start..start + length);
        Ok(Box::new(RequestHead {
            method,
            scheme,
            authority: slice(authority),
            path: slice(path),
            headers,
            body,
            upgrade: protocol.map(slice),
            expects_continue,
            one_way: false,
        }))
    }

    /// The fields of a reply.
    ///
    /// # Errors
    /// When they are none.
    pub fn into_response(self) -> Result<Response, Malformed> {
        let request = self.method.is_some()
            || self.scheme
            || [self.authority, self.path, self.protocol].iter().any(Option::is_some);
        // RFC 9113 8.6: there is no 101.
        match self.status {
            Some(status)
                if !self.malformed
                    && !request
                    && self.list_size <= self.limit
                    && status != StatusCode::SWITCHING_PROTOCOLS =>
            {
                let content_length = self.content_length;
                Ok(Response { status, headers: self.finish().1, content_length })
            }
            _ => Err(Malformed),
        }
    }

    /// The fields after a body.
    ///
    /// # Errors
    /// When they are none.
    pub fn into_trailers(self) -> Result<Headers, Malformed> {
        let pseudo = self.method.is_some()
            || self.scheme
            || self.status.is_some()
            || [self.authority, self.path, self.protocol].iter().any(Option::is_some);
        if self.malformed || pseudo || self.list_size > self.limit {
            return Err(Malformed);
        }
        Ok(self.finish().1)
    }

    fn finish(mut self) -> (Bytes, Headers) {
        if self.cookies > 1 {
            self.join_cookies();
        }
        let block = Bytes::copy_from_slice(self.text);
        (block.clone(), Headers::List(FieldList::new(block, self.ranges)))
    }

    /// RFC 9113 8.2.3: HTTP/2 may split cookies into fields, whoever reads them wants them in one.
    fn join_cookies(&mut self) {
        let text = &mut *self.text;
        let start = text.len();
        text.extend_from_slice(b"cookie: ");
        let mut cookies = 0;
        self.ranges.retain(|(name, length), (value, value_length)| {
            if &text[name..name + length] != b"cookie" {
                return true;
            }
            if cookies > 0 {
                text.extend_from_slice(b"; ");
            }
            cookies += 1;
            text.extend_from_within(value..value + value_length);
            false
        });
        let value = start + 8;
        let length = text.len() - value;
        text.extend_from_slice(b"\r\n");
        self.ranges.push((start, 6), (value, length), self.secret_cookie);
    }
}

/// Whether this can become an `Upgrade` field: one protocol, and not the one in which the client would
/// talk to the upstream past all routes.
fn valid_protocol(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
        && !value.eq_ignore_ascii_case(b"h2c")
}

/// RFC 9110 8.6: digits and nothing else.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
