use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_core::{BodyLength, Headers, ResponseHead};

use super::{
    MAX_FIELDS,
    fields::{self, Repeats},
};

/// What a response head says beyond the response itself.
#[derive(Clone, Copy, Debug)]
pub struct ResponseMeta {
    /// Bytes of the head.
    pub consumed: usize,
    /// Whether the connection can carry another request afterwards.
    pub keep_alive: bool,
    /// Whether the body is chunked; if not and its length is unknown, it ends with the connection.
    pub chunked: bool,
}

/// Why bytes are no acceptable response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ResponseError {
    Syntax,
    Framing,
    TooLarge,
}

/// Parses the response head at the start of `bytes`, the answer to a `method` request; `None` =
/// more bytes are needed. 1xx heads are returned like any other.
///
/// # Errors
/// When no further byte could make it a response that is acceptable within `max_bytes`.
pub fn parse_response(
    bytes: &[u8],
    method: &Method,
    max_bytes: usize,
) -> Result<Option<(ResponseHead, ResponseMeta)>, ResponseError> {
    let mut storage = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut storage,
    );
    let consumed = match parsed {
        Ok(httparse::Status::Complete(consumed)) if consumed <= max_bytes => consumed,
        Ok(httparse::Status::Partial) if bytes.len() < max_bytes => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
        Err(_) => return Err(ResponseError::Syntax),
    };
    let (Some(version), Some(code)) = (response.version, response.code) else {
        return Err(ResponseError::Syntax);
    };
    let status = StatusCode::from_u16(code).map_err(|_| ResponseError::Syntax)?;
    let head = &bytes[..consumed];
    let block = Bytes::copy_from_slice(head);
    let (facts, list) = fields::scan(head, block, response.headers, Repeats::Tolerated)
        .map_err(|_| ResponseError::Framing)?;
    if facts.chunked && version == 0 {
        return Err(ResponseError::Framing);
    }
    // RFC 9112 6.3, in its order.
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let body = match facts.content_length {
        _ if bodiless => BodyLength::Empty,
        Some(0) => BodyLength::Empty,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Unknown,
    };
    let to_eof = body == BodyLength::Unknown && !facts.chunked;
    let meta = ResponseMeta {
        consumed,
        keep_alive: !to_eof && !facts.close && (version == 1 || facts.keep_alive),
        chunked: facts.chunked && !bodiless,
    };
    Ok(Some((ResponseHead { status, headers: Headers::List(list), body }, meta)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, method: Method) -> Result<Option<(ResponseHead, ResponseMeta)>, ResponseError> {
        parse_response(text.as_bytes(), &method, 1024)
    }

    #[test]
    fn length_follows_rfc_9112_6_3() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyLength::Known(3), true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                Method::GET,
                BodyLength::Known(3),
                true,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::HEAD, BodyLength::Empty, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::GET, BodyLength::Unknown, true),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, BodyLength::Unknown, false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyLength::Empty, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, BodyLength::Empty, true),
            ("HTTP/1.1 100 Continue\r\n\r\n", Method::GET, BodyLength::Empty, true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyLength::Known(3), false),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
                Method::GET,
                BodyLength::Known(3),
                false,
            ),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Method::GET, BodyLength::Empty, true),
        ];
        for (text, method, body, keep_alive) in table {
            let (head, meta) = parse(text, method).expect(text).expect(text);
            assert_eq!((head.body, meta.keep_alive), (body, keep_alive), "{text:?}");
        }
        let (head, _) = parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::HEAD).unwrap().unwrap();
        assert_eq!(head.headers.get("content-length"), Some(&b"3"[..]), "a HEAD reply keeps its length");
    }

    #[test]
    fn replies_that_could_be_read_in_two_ways_are_refused() {
        for fields in [
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Content-Length: x\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(parse(&text, Method::GET).unwrap_err(), ResponseError::Framing, "{text:?}");
        }
        assert_eq!(parse("SSH-2.0-x\r\n", Method::GET).unwrap_err(), ResponseError::Syntax);
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(1024));
        assert_eq!(parse(&long, Method::GET).unwrap_err(), ResponseError::TooLarge);
    }
}
