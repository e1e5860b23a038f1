//! Hosts by name: every address of a name is a host.

use std::{cell::RefCell, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use mosn_codec::dns::Family;
use mosn_config::model::{DnsFamily, HostSpec, StrictDnsSpec};
use mosn_upstream::{HostAddress, HostFeed, HostSource};
use tokio::task::JoinSet;

use super::resolver::{Found, Resolver};

pub(super) struct StrictDns {
    spec: StrictDnsSpec,
}

impl StrictDns {
    pub(super) fn new(spec: StrictDnsSpec) -> Self {
        Self { spec }
    }
}

impl HostSource for StrictDns {
    fn follow(self: Box<Self>, feed: Rc<HostFeed>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let spec = Rc::new(self.spec);
            // Until a name is resolved for the first time its host is what was configured: each
            // connection looks it up by itself.
            let hosts = spec.names.iter().map(|host| vec![host.clone()]).collect();
            let known = Rc::new(Known { feed, hosts: RefCell::new(hosts) });
            let mut names = JoinSet::new();
            for (index, host) in spec.names.iter().enumerate() {
                if let Some(HostAddress::Name { host: name, port }) = HostAddress::parse(&host.address) {
                    let name = Name { index, name, port, spec: Rc::clone(&spec), known: Rc::clone(&known) };
                    names.spawn_local(name.follow());
                }
            }
            // None ends, but all end with this.
            while names.join_next().await.is_some() {}
        })
    }
}

/// What is known of all names.
struct Known {
    feed: Rc<HostFeed>,
    /// By name, in the order of the configuration.
    hosts: RefCell<Vec<Vec<HostSpec>>>,
}

struct Name {
    index: usize,
    name: Arc<str>,
    port: u16,
    spec: Rc<StrictDnsSpec>,
    known: Rc<Known>,
}

impl Name {
    async fn follow(self) {
        let mut failing = false;
        loop {
            let pause = match self.resolve().await {
                Ok(found) => {
                    let ttl = Duration::from_secs(found.ttl.into());
                    self.known.put(self.index, &self.spec.names[self.index], self.port, &found);
                    failing = false;
                    let by_ttl = self.spec.respect_ttl && !ttl.is_zero();
                    if by_ttl { ttl + Duration::from_secs(1) } else { self.spec.refresh }
                }
                Err(reason) => {
                    let cluster = self.known.feed.cluster();
                    // Once for each outage: this goes on for as long as it lasts.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "cluster {cluster}: {} cannot be resolved: {reason}; its hosts stay",
                            self.name
                        );
                    }
                    self.spec.refresh
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn resolve(&self) -> Result<Found, String> {
        let resolver = Resolver::new(&self.spec.resolver)?;
        let (v4, v6) = (Family::V4, Family::V6);
        match self.spec.family {
            DnsFamily::V4 => resolver.resolve(&self.name, v4).await,
            DnsFamily::V6 => resolver.resolve(&self.name, v6).await,
            DnsFamily::Auto => match resolver.resolve(&self.name, v6).await {
                Ok(found) => Ok(found),
                Err(_) => resolver.resolve(&self.name, v4).await,
            },
            DnsFamily::All => {
                match (resolver.resolve(&self.name, v6).await, resolver.resolve(&self.name, v4).await) {
                    (Ok(mut one), Ok(other)) => {
                        one.addresses.extend(other.addresses);
                        one.ttl = one.ttl.min(other.ttl);
                        Ok(one)
                    }
                    (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
                    (Err(reason), Err(_)) => Err(reason),
                }
            }
        }
    }
}

impl Known {
    fn put(&self, index: usize, host: &HostSpec, port: u16, found: &Found) {
        // The name that was asked for is the host's own, unless it was given another.
        let hostname = match host.address.rsplit_once(':') {
            Some((name, _)) if host.hostname.is_empty() => name.into(),
            _ => host.hostname.clone(),
        };
        let at = |ip| HostSpec {
            address: SocketAddr::new(ip, port).to_string().into(),
            hostname: Arc::clone(&hostname),
            ..host.clone()
        };
        self.hosts.borrow_mut()[index] = found.addresses.iter().copied().map(at).collect();
        let mut all: Vec<HostSpec> = self.hosts.borrow().iter().flatten().cloned().collect();
        // A server that rotates its answers changes nothing.
        all.sort_by(|one, other| one.address.cmp(&other.address));
        match self.feed.put(all) {
            Ok(true) => {
                let (name, addresses) = (&host.address, &found.addresses);
                tracing::info!("cluster {}: {name} is at {addresses:?}", self.feed.cluster());
            }
            Ok(false) => {}
            Err(error) => tracing::error!("{error}"),
        }
    }
}
