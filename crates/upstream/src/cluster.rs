use std::{collections::HashMap, sync::Arc, time::Duration};

use mosn_config::model::{Breakers, ClusterSpec, HostSpec, LocalitySpec, Name};

use crate::{
    ChooseContext, ClusterError, ConnectionToken, Host, Overflow, PendingToken, RequestToken, RetryToken,
    balancer::Balancer, breakers, breakers::InFlight,
};

/// A cluster as it is at some moment. A change makes another one, with the same counters.
#[derive(Debug)]
pub struct Cluster {
    /// Unique among clusters.
    pub name: Name,
    /// How long a connect may take; above 0.
    pub connect_timeout: Duration,
    /// Closes an upstream connection without traffic for this long; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Limits; 0 = none.
    pub breakers: Breakers,
    /// Requests after which an upstream connection is replaced; `None` = no limit.
    pub max_requests_per_connection: Option<u32>,
    /// `SO_MARK` of upstream sockets; 0 = none.
    pub mark: u32,
    /// Whether it has connection pools of its own where another cluster has the same host.
    pub own_pools: bool,
    /// Without its hosts: what a change of hosts builds on.
    spec: Arc<ClusterSpec>,
    localities: Box<[LocalitySpec]>,
    hosts: Box<[Arc<Host>]>,
    balancer: Balancer,
    in_flight: Arc<InFlight>,
}

impl Cluster {
    /// `before` is the cluster of this name until now.
    pub(crate) fn build(mut spec: ClusterSpec, before: Option<&Self>) -> Result<Self, ClusterError> {
        let localities = std::mem::take(&mut spec.localities);
        Self::assemble(Arc::new(spec), localities, before)
    }

    /// The same with other hosts.
    pub(crate) fn with_hosts(&self, localities: Vec<LocalitySpec>) -> Result<Self, ClusterError> {
        Self::assemble(self.spec.clone(), localities, Some(self))
    }

    /// The same hosts with other settings.
    pub(crate) fn with_settings(&self, spec: ClusterSpec) -> Result<Self, ClusterError> {
        Self::assemble(
            Arc::new(ClusterSpec { localities: Vec::new(), ..spec }),
            self.localities(),
            Some(self),
        )
    }

    fn assemble(
        spec: Arc<ClusterSpec>,
        mut localities: Vec<LocalitySpec>,
        before: Option<&Self>,
    ) -> Result<Self, ClusterError> {
        if spec.name.is_empty() {
            return Err(ClusterError::NoName);
        }
        let known: HashMap<&str, &Arc<Host>, ahash::RandomState> = before
            .into_iter()
            .flat_map(|before| &before.hosts)
            .map(|host| (&*host.address_text, host))
            .collect();
        let mut seen = std::collections::HashSet::with_hasher(ahash::RandomState::new());
        let mut hosts = Vec::with_capacity(localities.iter().map(|locality| locality.hosts.len()).sum());
        for (index, locality) in localities.iter_mut().enumerate() {
            for host in std::mem::take(&mut locality.hosts) {
                // Of two with the same address the first counts, as in MOSN.
                if !seen.insert(host.address.clone()) {
                    continue;
                }
                let before = known.get(&*host.address).copied();
                let Some(host) = Host::new(&host, index as u16, before) else {
                    return Err(ClusterError::BadAddress {
                        cluster: spec.name.clone(),
                        address: host.address,
                    });
                };
                hosts.push(host);
            }
        }
        Ok(Self {
            name: spec.name.clone(),
            connect_timeout: spec.connect_timeout,
            idle_timeout: spec.idle_timeout,
            breakers: spec.breakers,
            max_requests_per_connection: spec.max_requests_per_connection,
            mark: spec.mark,
            own_pools: spec.own_pools,
            balancer: Balancer::new(spec.balancer, &hosts),
            localities: localities.into_boxed_slice(),
            hosts: hosts.into_boxed_slice(),
            in_flight: before.map_or_else(Arc::default, |before| before.in_flight.clone()),
            spec,
        })
    }

    /// Marks the hosts that `after` no longer has.
    pub(crate) fn retire_hosts(&self, after: Option<&Self>) {
        let kept: std::collections::HashSet<_, ahash::RandomState> =
            after.into_iter().flat_map(|after| &after.hosts).map(|host| host.id).collect();
        for host in self.hosts.iter().filter(|host| !kept.contains(&host.id)) {
            host.retire();
        }
    }

    /// Its hosts, by locality, as they are now.
    #[must_use]
    pub fn localities(&self) -> Vec<LocalitySpec> {
        let mut localities = self.localities.to_vec();
        for host in &self.hosts {
            localities[usize::from(host.locality)].hosts.push(host.spec());
        }
        localities
    }

    /// Its settings and hosts, as a spec.
    #[must_use]
    pub fn spec(&self) -> ClusterSpec {
        ClusterSpec { localities: self.localities(), ..(*self.spec).clone() }
    }

    /// All of its hosts, healthy or not.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// How many hosts a request of this kind can choose from, healthy or not.
    #[must_use]
    pub fn host_count(&self, _: &ChooseContext<'_>) -> usize {
        self.hosts.len()
    }

    /// A host for a request; `None` if no healthy one suits it. The answer is another one each time,
    /// so a retry asks again, with the hosts that it tried in `cx.previous`.
    pub fn choose(&self, cx: &mut ChooseContext<'_>) -> Option<&Arc<Host>> {
        self.balancer.choose(&self.hosts, cx)
    }

    /// Counts a request until the token is dropped, if their number is limited.
    ///
    /// # Errors
    /// [`Overflow::Requests`] if the limit is reached.
    pub fn try_acquire_request(&self) -> Result<RequestToken, Overflow> {
        self.in_flight.request(self.breakers.max_requests)
    }

    /// Counts a request that waits for a connection, as [`Self::try_acquire_request`] does.
    ///
    /// # Errors
    /// [`Overflow::Pending`] if the limit is reached.
    pub fn try_acquire_pending(&self) -> Result<PendingToken, Overflow> {
        self.in_flight.pending(self.breakers.max_pending_requests)
    }

    /// Counts a retry, as [`Self::try_acquire_request`] does.
    ///
    /// # Errors
    /// [`Overflow::Retries`] if the limit is reached.
    pub fn try_acquire_retry(&self) -> Result<RetryToken, Overflow> {
        self.in_flight.retry(self.breakers.max_retries)
    }

    /// Counts a connection to one of its hosts, as [`Self::try_acquire_request`] does. The limit is
    /// per host and for all workers together.
    ///
    /// # Errors
    /// [`Overflow::Connections`] if the limit is reached.
    pub fn try_acquire_connection(&self, host: &Arc<Host>) -> Result<ConnectionToken, Overflow> {
        breakers::connection(host, self.breakers.max_connections, false)
    }

    /// Requests, waiting requests and retries in flight, each counted only while it is limited.
    #[must_use]
    pub fn in_flight(&self) -> [u32; 3] {
        self.in_flight.now()
    }
}

/// One locality without a name: what MOSN's JSON has.
pub(crate) fn one_locality(hosts: Vec<HostSpec>) -> Vec<LocalitySpec> {
    vec![LocalitySpec { hosts, ..LocalitySpec::default() }]
}
