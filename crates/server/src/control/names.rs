//! The addresses of names, for health checks.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

/// How long addresses are used, as for connections.
const RESOLVED: Duration = Duration::from_secs(15);

/// Names that were looked up.
#[derive(Debug, Default)]
pub(super) struct KnownNames(RefCell<HashMap<(Arc<str>, u16), Known>>);

/// Until when they are used, and which they are.
type Known = (Instant, Rc<[SocketAddr]>);

impl KnownNames {
    pub(super) async fn addresses(&self, name: &Arc<str>, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        let key = (Arc::clone(name), port);
        if let Some((until, addresses)) = self.0.borrow().get(&key)
            && Instant::now() < *until
        {
            return Ok(Rc::clone(addresses));
        }
        let addresses: Rc<[SocketAddr]> = tokio::net::lookup_host((&**name, port)).await?.collect();
        let now = Instant::now();
        let mut known = self.0.borrow_mut();
        known.retain(|_, (until, _)| *until > now);
        known.insert(key, (now + RESOLVED, Rc::clone(&addresses)));
        Ok(addresses)
    }
}
