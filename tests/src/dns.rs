//! A name server that answers what a test tells it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Bytes of a header.
const HEADER: usize = 12;

/// A server on a port of its own, for as long as the tests run.
#[derive(Clone, Debug)]
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: HashMap<String, (u32, Vec<IpAddr>)>,
    /// Answers SERVFAIL.
    failing: bool,
    asked: usize,
}

impl Default for NameServer {
    fn default() -> Self {
        Self::new()
    }
}

impl NameServer {
    /// Knows no names.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let server = Self { address, state: Arc::clone(&state) };
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.asked += 1;
                if let Some(reply) = state.reply(&query[..length]) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        server
    }

    /// Its port, as text.
    #[must_use]
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// What a name stands for from now on, and for how many seconds.
    ///
    /// # Panics
    /// When an address is none.
    pub fn set(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.state().names.insert(name.into(), (ttl, addresses));
    }

    /// Whether it fails from now on.
    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// How many queries came.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut at = HEADER;
        let mut name = Vec::new();
        while let Some(length @ 1..) = query.get(at).copied().map(usize::from) {
            name.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).into_owned());
            at += 1 + length;
        }
        let family = query.get(at + 2)?;
        let question = query.get(HEADER..at + 5)?;
        let (ttl, addresses) = self.names.get(&name.join(".")).cloned().unwrap_or_default();
        let wanted = if *family == 1 { IpAddr::is_ipv4 } else { IpAddr::is_ipv6 };
        let addresses: Vec<_> = addresses.into_iter().filter(wanted).collect();
        let code = match (self.failing, self.names.contains_key(&name.join("."))) {
            (true, _) => 2,
            (false, false) => 3,
            (false, true) => 0,
        };
        let count = if code == 0 { addresses.len() as u8 } else { 0 };
        let mut reply = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
        reply.extend_from_slice(question);
        for address in addresses.iter().take(count.into()) {
            reply.extend_from_slice(&[0xc0, HEADER as u8, 0, *family, 0, 1]);
            reply.extend_from_slice(&ttl.to_be_bytes());
            match address {
                IpAddr::V4(address) => {
                    reply.extend_from_slice(&[0, 4]);
                    reply.extend_from_slice(&address.octets());
                }
                IpAddr::V6(address) => {
                    reply.extend_from_slice(&[0, 16]);
                    reply.extend_from_slice(&address.octets());
                }
            }
        }
        Some(reply)
    }
}
