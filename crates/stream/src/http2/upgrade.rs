//! The upgrade from HTTP/1.1 (RFC 7540 3.2): the first request came in HTTP/1.1 and is stream 1.
//!
//! The client's side of the new connection begins with its preface and SETTINGS. Right behind those
//! we put a HEADERS frame that says what the HTTP/1.1 request said; from there on nothing is special.

use std::{future::poll_fn, io, task::ready};

use bytes::{BufMut, BytesMut};
use mosn_core::RequestHead;
use mosn_net::{Io, scratch};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// A client's SETTINGS frame is a few dozen bytes.
const MAX_SETTINGS: usize = 1024;
const MAX_FRAME: usize = 16_384;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Reads the client's preface and SETTINGS, and gives them back followed by `head` as stream 1.
///
/// # Errors
/// When the client does not go on in HTTP/2, or the head does not fit in one frame.
pub(super) async fn replay(io: &mut Io, head: &RequestHead) -> io::Result<()> {
    let mut start = BytesMut::new();
    let settings_end = loop {
        if let Some(end) = settings_end(&start)? {
            break end;
        }
        poll_fn(|cx| {
            scratch::with_read(|buffer| {
                let read = match ready!(io.poll_read(cx, buffer)) {
                    Ok(read) => read,
                    Err(error) => return std::task::Poll::Ready(Err(error)),
                };
                start.extend_from_slice(&buffer[..read]);
                std::task::Poll::Ready(if read == 0 {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
                } else {
                    Ok(())
                })
            })
        })
        .await?;
    };
    let block = header_block(head);
    if block.len() > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut replayed = BytesMut::with_capacity(start.len() + FRAME_HEAD + block.len());
    replayed.put_slice(&start[..settings_end]);
    replayed.put_uint(block.len() as u64, 3);
    replayed.put_slice(&[1, END_STREAM | END_HEADERS, 0, 0, 0, 1]);
    replayed.put_slice(&block);
    replayed.put_slice(&start[settings_end..]);
    io.unread(replayed.freeze());
    Ok(())
}

/// Where the client's SETTINGS frame ends, once it is all there.
fn settings_end(start: &[u8]) -> io::Result<Option<usize>> {
    let seen = start.len().min(PREFACE.len());
    if start[..seen] != PREFACE[..seen] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some([a, b, c, kind, ..]) = start.get(PREFACE.len()..PREFACE.len() + FRAME_HEAD) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if *kind != 4 || length > MAX_SETTINGS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let end = PREFACE.len() + FRAME_HEAD + length;
    Ok((start.len() >= end).then_some(end))
}

/// The head in HPACK's plainest form: literals that are not indexed (RFC 7541 6.2.2), so that the
/// decoder's table stays as the client thinks it is.
fn header_block(head: &RequestHead) -> Vec<u8> {
    let mut block = Vec::new();
    let mut field = |name: &[u8], value: &[u8]| {
        block.push(0);
        literal(&mut block, &name.to_ascii_lowercase());
        literal(&mut block, value);
    };
    field(b":method", head.method.as_str().as_bytes());
    field(b":scheme", head.scheme.as_str().as_bytes());
    field(b":authority", &head.authority);
    field(b":path", &head.path);
    for (name, value) in &head.headers {
        if !name.eq_ignore_ascii_case(b"host") {
            field(name, value);
        }
    }
    block
}

/// A string literal without Huffman coding (RFC 7541 5.2).
fn literal(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text);
}
