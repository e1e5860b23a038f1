//! The few shapes that answers have (observability reference 1.1).

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

/// MOSN leaves the type to Go's sniffing, which takes all of its bodies, JSON too, for this.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// 200 and this text.
pub(crate) fn ok(body: impl Into<Body>) -> Response {
    with_status(StatusCode::OK, body)
}

/// This status and text.
pub(crate) fn with_status(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// `{"error": "<message>"}`, indented by a tab and with a line end. The client learns the message, the
/// error log the reason.
pub(crate) fn error(status: StatusCode, path: &str, message: &str, why: &str) -> Response {
    rejected(path, why);
    let mut body = indented(&serde_json::json!({ "error": message }), b"\t");
    body.push('\n');
    with_status(status, body)
}

/// 400 and a plain message; the refusal goes to the error log.
pub(crate) fn bad_request(path: &str, message: &str) -> Response {
    rejected(path, message);
    with_status(StatusCode::BAD_REQUEST, message.to_owned())
}

/// An empty 405, unless `method` is the one that `path` takes.
pub(crate) fn wrong_method(path: &str, method: &Method, takes: &Method) -> Option<Response> {
    if method == takes {
        return None;
    }
    rejected(path, &format!("method {method} is not {takes}"));
    Some(with_status(StatusCode::METHOD_NOT_ALLOWED, Body::empty()))
}

/// Says in the error log that a request was refused.
pub(crate) fn rejected(path: &str, why: &str) {
    tracing::error!(alert = "mosn.admin.admin_failed", "[admin api] {path}: {why}");
}

/// JSON indented by one space, as MOSN's filtered dumps and lists are.
pub(crate) fn json(value: &impl Serialize) -> Response {
    ok(indented(value, b" "))
}

fn indented(value: &impl Serialize, indent: &[u8]) -> String {
    let mut out = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(indent));
    // Maps of strings and booleans cannot fail to be written to memory.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(out).unwrap_or_default()
}
