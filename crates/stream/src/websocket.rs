//! The part of the WebSocket handshake that HTTP/1 has and HTTP/2 has not (RFC 6455 4.2.2, RFC 8441 5):
//! a key in the request that the reply must answer. Between the versions, the proxy does it.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};

pub(crate) const KEY: &str = "sec-websocket-key";
pub(crate) const ACCEPT: &str = "sec-websocket-accept";
/// What RFC 6455 1.3 appends to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key to ask an HTTP/1 upstream with.
pub(crate) fn new_key() -> String {
    let mut nonce = [0; 16];
    fastrand::Rng::new().fill(&mut nonce);
    BASE64_STANDARD.encode(nonce)
}

/// The only right answer to a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64_STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_rfcs() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(new_key().len(), 24);
        assert_ne!(new_key(), new_key());
    }
}
