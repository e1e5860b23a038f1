//! What the protocols' tests share.

use bytes::BytesMut;

use super::{Decoded, EncodeError, FrameView, HeaderError, HeaderScope, Limits, RpcProtocol, Side};

/// Bytes from hexadecimal digits; blanks are ignored, `"quoted"` parts are taken as they are.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.chars().filter(|char| !char.is_whitespace()).collect();
        bytes.extend(
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
        );
    }
    bytes
}

/// Decodes bytes that are exactly one frame from downstream.
pub(crate) fn view(protocol: &dyn RpcProtocol, frame: &[u8]) -> FrameView {
    view_from(protocol, frame, Side::Downstream)
}

pub(crate) fn view_from(protocol: &dyn RpcProtocol, frame: &[u8], from: Side) -> FrameView {
    match protocol.decode(frame, from, &Limits::default()) {
        Ok(Decoded::Frame(view)) if view.len as usize == frame.len() => view,
        other => panic!("{}: {other:?} of {} bytes", protocol.name(), frame.len()),
    }
}

/// The frame as it is forwarded under another id.
pub(crate) fn forward(protocol: &dyn RpcProtocol, frame: &[u8], id: u64) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    protocol.append(frame, &view(protocol, frame), id, &mut out);
    out.split_off(b"before".len()).to_vec()
}

/// All header fields, as text.
pub(crate) fn headers(
    protocol: &dyn RpcProtocol,
    frame: &[u8],
    scope: HeaderScope,
) -> Result<Vec<(String, String)>, HeaderError> {
    let mut fields = Vec::new();
    protocol.visit_headers(frame, &view(protocol, frame), scope, &mut |name, value| {
        fields.push((String::from_utf8_lossy(name).into(), String::from_utf8_lossy(&value).into()));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(fields)
}

/// One header field, as text.
pub(crate) fn header(
    protocol: &dyn RpcProtocol,
    frame: &[u8],
    scope: HeaderScope,
    name: &str,
) -> Option<String> {
    let value = protocol.header(frame, &view(protocol, frame), scope, name).unwrap();
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// The local reply to a request.
pub(crate) fn local_reply(
    protocol: &dyn RpcProtocol,
    request: &[u8],
    code: u16,
    text: Option<&[u8]>,
) -> Vec<u8> {
    let seed = protocol.reply_seed(request, &view(protocol, request)).unwrap();
    let mut out = BytesMut::new();
    protocol.local_reply(&seed, code, text, &mut out);
    out.to_vec()
}

/// The frame with a new content.
pub(crate) fn with_body(
    protocol: &dyn RpcProtocol,
    frame: &[u8],
    id: u64,
    body: &[u8],
) -> Result<Vec<u8>, EncodeError> {
    let mut out = BytesMut::new();
    let edit = super::Edit { headers: None, body: Some(body) };
    protocol.rebuild(frame, &view(protocol, frame), edit, id, &mut out)?;
    Ok(out.to_vec())
}

/// What `write` appends, if it says that it did.
pub(crate) fn written(write: impl FnOnce(&mut BytesMut) -> bool) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    let wrote = write(&mut out);
    assert_eq!(wrote, !out.is_empty());
    wrote.then(|| out.to_vec())
}
