//! The HTTP-like codes that a local reply is made from, and the words for them.

/// The request could not be decoded.
pub const CODEC_EXCEPTION: u16 = 0;
/// Nothing better is known.
pub const UNKNOWN: u16 = 2;
/// The request's content could not be decoded.
pub const DESERIAL_EXCEPTION: u16 = 3;

/// The words of MOSN for a code, as they appear behind `<code>|` in dubbo and thrift replies.
#[must_use]
pub(crate) const fn words(code: u16) -> Option<&'static str> {
    Some(match code {
        CODEC_EXCEPTION => "codec exception",
        UNKNOWN => "unknown",
        DESERIAL_EXCEPTION => "deserial exception",
        200 => "success",
        403 => "permission denied",
        404 => "router unavailable",
        500 => "internal error",
        502 => "no health upstream",
        503 => "upstream overflow",
        504 => "timeout",
        509 => "limit exceeded",
        _ => return None,
    })
}
