//! What a head's fields say of the message and of the connection, and which of them travel on.

use bytes::Bytes;
use mosn_core::FieldList;

/// A way in which the fields that frame a message are unacceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramingError {
    ContentLength,
    TransferEncoding,
    UnknownCoding,
    Both,
    Host,
}

/// What the fields say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) connection_upgrade: bool,
    pub(super) host: Option<(usize, usize)>,
    pub(super) upgrade: Option<(usize, usize)>,
    pub(super) http2_settings: bool,
    pub(super) expects_continue: bool,
    /// Whether `Connection` names a field beyond the usual ones, which must not travel on.
    nominated: bool,
}

/// Whether identical repeated `Content-Length` fields are put up with (replies only: some servers
/// send them, and nothing can be smuggled past a client of ours).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Refused,
    Tolerated,
}

/// Reads `fields`, whose slices lie in `head`, and collects those that travel on.
pub(super) fn scan(
    head: &[u8],
    block: Bytes,
    fields: &[httparse::Header<'_>],
    repeats: Repeats,
) -> Result<(Facts, FieldList), FramingError> {
    let mut facts = Facts::default();
    let mut list = FieldList::with_block(block, fields.len());
    let base = head.as_ptr() as usize;
    let range = |part: &[u8]| (part.as_ptr() as usize - base, part.len());
    for field in fields {
        let (name, value) = (field.name.as_bytes(), field.value);
        // One comparison decides for most fields: only a few lengths belong to fields that matter.
        let travels = match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => {
                tokens(value).any(|t| t.eq_ignore_ascii_case(b"trailers"))
            }
            4 if name.eq_ignore_ascii_case(b"host") => {
                if facts.host.is_some() || !valid_host(value) {
                    return Err(FramingError::Host);
                }
                facts.host = Some(range(value));
                true
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                facts.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
                !facts.expects_continue
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                facts.upgrade = Some(range(value));
                false
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                facts.connection(value);
                false
            }
            10 if name.eq_ignore_ascii_case(b"keep-alive") => false,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = content_length(value).ok_or(FramingError::ContentLength)?;
                match facts.content_length {
                    None => facts.content_length = Some(length),
                    Some(same) if same == length && repeats == Repeats::Tolerated => continue,
                    Some(_) => return Err(FramingError::ContentLength),
                }
                true
            }
            14 if name.eq_ignore_ascii_case(b"http2-settings") => {
                facts.http2_settings = true;
                false
            }
            16 if name.eq_ignore_ascii_case(b"proxy-connection") => false,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if facts.chunked {
                    return Err(FramingError::TransferEncoding);
                }
                transfer_encoding(value)?;
                facts.chunked = true;
                false
            }
            _ => true,
        };
        if travels {
            list.push_range(range(name), range(value));
        }
    }
    if facts.chunked && facts.content_length.is_some() {
        return Err(FramingError::Both);
    }
    if facts.nominated {
        return Ok((facts, without_nominated(list, fields)));
    }
    Ok((facts, list))
}

impl Facts {
    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            match token.len() {
                5 if token.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if token.eq_ignore_ascii_case(b"upgrade") => self.connection_upgrade = true,
                10 if token.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                2 if token.eq_ignore_ascii_case(b"te") => {}
                14 if token.eq_ignore_ascii_case(b"http2-settings") => {}
                _ => self.nominated = true,
            }
        }
    }
}

/// RFC 9110 7.6.1: fields that `Connection` names end with this connection. Those that say what
/// the message is cannot be named away.
fn without_nominated(list: FieldList, fields: &[httparse::Header<'_>]) -> FieldList {
    let mut headers = mosn_core::Headers::List(list);
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for token in tokens(field.value) {
            let kept = [&b"host"[..], b"content-length", b"content-type", b"content-encoding", b"te"];
            if let Ok(name) = std::str::from_utf8(token)
                && !kept.iter().any(|kept| token.eq_ignore_ascii_case(kept))
            {
                headers.remove(name);
            }
        }
    }
    match headers {
        mosn_core::Headers::List(list) => list,
        mosn_core::Headers::Frame(_) => FieldList::default(),
    }
}

/// The elements of a comma-separated list, without surrounding blanks; empty ones left out.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// RFC 9110 8.6: digits and nothing else.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => Some(sum * 10 + u64::from(byte - b'0')),
        _ => None,
    })
}

/// Only `chunked`, once. A list of well-formed codings that we do not know is [unknown]; anything
/// else is an attempt to make two recipients disagree.
///
/// [unknown]: FramingError::UnknownCoding
fn transfer_encoding(value: &[u8]) -> Result<(), FramingError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let well_formed = !value.is_empty()
        && value.split(|&byte| byte == b',').all(|coding| {
            let coding = coding.trim_ascii();
            !coding.is_empty()
                && coding.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        });
    let chunked = tokens(value).filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count();
    Err(if well_formed && chunked <= 1 {
        FramingError::UnknownCoding
    } else {
        FramingError::TransferEncoding
    })
}

/// The bytes an authority may have (RFC 3986 3.2, without user information).
pub(crate) fn valid_host(value: &[u8]) -> bool {
    let (mut bracketed, mut port) = (false, false);
    value.iter().all(|&byte| {
        match byte {
            b'[' => bracketed = true,
            b']' => bracketed = false,
            b':' if !bracketed && !port => {
                port = true;
                return true;
            }
            _ => {}
        }
        if port { byte.is_ascii_digit() } else { HOST_BYTES[usize::from(byte)] }
    })
}

const HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"-._~:[]!$&'()*+,;=%";
    let mut at = 0;
    while at < allowed.len() {
        table[allowed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};
