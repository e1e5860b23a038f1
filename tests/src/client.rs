use std::net::SocketAddr;

use crate::{Http2Client, Reply, Request, Wire};

/// A connection to the proxy, in either protocol.
#[derive(Debug)]
pub enum Client {
    /// HTTP/1.1.
    Http1(Wire),
    /// HTTP/2 with prior knowledge.
    Http2(Http2Client),
}

/// A reply that did not come to its end.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What came of it.
    pub reply: Box<Reply>,
    /// How it ended.
    pub why: String,
}

impl Broken {
    pub(crate) fn new(why: impl ToString) -> Self {
        Self { reply: Box::default(), why: why.to_string() }
    }
}

impl Client {
    /// Connects.
    #[must_use]
    #[track_caller]
    pub fn connect(protocol: &str, address: SocketAddr) -> Self {
        match protocol {
            "Http2" => Self::Http2(Http2Client::connect(address)),
            _ => Self::Http1(Wire::connect(address)),
        }
    }

    /// Sends a request and reads its reply to the end.
    ///
    /// # Errors
    /// When the reply does not come to its end.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Result<Reply, Broken> {
        match self {
            Self::Http1(wire) => {
                let mut reply = Reply::default();
                // A proxy that answers early may take no more: its answer counts.
                let sent = wire.request(request);
                match wire.reply(&request.method, &mut reply) {
                    Ok(()) => Ok(reply),
                    Err(error) => {
                        Err(Broken { reply: Box::new(reply), why: format!("{error}; sending: {sent:?}") })
                    }
                }
            }
            Self::Http2(client) => client.exchange(request),
        }
    }

    /// The same, for a reply that comes to its end.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Reply {
        match self.exchange(request) {
            Ok(reply) => reply,
            Err(broken) => panic!("{} {}: {broken:?}", request.method, request.path),
        }
    }
}
