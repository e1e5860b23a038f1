use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use mosn_config::model::{
    BalancerKind, Breakers, ClusterSpec, Discovery, HealthCheckSpec, HostSpec, KeepaliveSpec, LocalitySpec,
    Name, OriginalDstSpec, Priority, RetryBudgetSpec,
};

use crate::{
    Attempt, ChooseContext, ClusterError, ConnectionToken, Health, Host, HostAddress, OutlierEvent, Overflow,
    PendingToken, RequestToken, RetryToken,
    balancer::{Terms, slow_start},
    breakers::{self, InFlight},
    observe::Observer,
    priorities::Priorities,
    subset::{Found, Subsets},
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
    /// Age at which an upstream connection is replaced; `None` = no limit.
    pub max_connection_duration: Option<Duration>,
    /// When RPC connections are asked for a sign of life.
    pub keepalive: KeepaliveSpec,
    /// `SO_MARK` of upstream sockets; 0 = none.
    pub mark: u32,
    /// The address that upstream sockets are bound to; `None` = the system's choice.
    pub bind_address: Option<IpAddr>,
    /// Whether it has connection pools of its own where another cluster has the same host.
    pub own_pools: bool,
    /// Without its hosts: what a change of hosts builds on.
    spec: Arc<ClusterSpec>,
    localities: Box<[LocalitySpec]>,
    hosts: Priorities,
    subsets: Option<Box<Subsets>>,
    /// By priority.
    in_flight: [Arc<InFlight>; 2],
    /// `None` where nothing depends on what becomes of requests.
    observer: Option<Arc<Observer>>,
    subset_fallbacks: Arc<AtomicU64>,
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
            .flat_map(|before| before.hosts())
            .map(|host| (&*host.address_text, host))
            .collect();
        let mut seen = HashSet::with_hasher(ahash::RandomState::new());
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
        let observer = match before {
            Some(before) if Observer::same(&before.spec, &spec) => before.observer.clone(),
            _ => Observer::new(&spec),
        };
        let hosts: Arc<[Arc<Host>]> = hosts.into();
        if let Some(outlier) = observer.as_ref().and_then(|observer| observer.outlier.as_ref()) {
            outlier.set_hosts(&hosts);
        }
        let subset_fallbacks = before.map_or_else(Arc::default, |before| before.subset_fallbacks.clone());
        Ok(Self {
            name: spec.name.clone(),
            connect_timeout: spec.connect_timeout,
            idle_timeout: spec.idle_timeout,
            breakers: spec.breakers,
            max_requests_per_connection: spec.max_requests_per_connection,
            max_connection_duration: spec.max_connection_duration,
            keepalive: spec.keepalive,
            mark: spec.mark,
            bind_address: spec.bind_address,
            own_pools: spec.own_pools,
            subsets: Subsets::new(&spec, &localities, &hosts, subset_fallbacks.clone()).map(Box::new),
            hosts: Priorities::new(&spec, &localities, hosts),
            localities: localities.into_boxed_slice(),
            in_flight: before.map_or_else(Default::default, |before| before.in_flight.clone()),
            observer,
            subset_fallbacks,
            spec,
        })
    }

    /// Forgets what was found out about hosts by means that the cluster no longer has: nobody else
    /// would.
    pub(crate) fn forget_health(&self, before: &Self) {
        let (old, new) = (&before.spec.health, &self.spec.health);
        let now = Instant::now();
        for (had, has, flag) in [
            (old.check.is_some(), new.check.is_some(), Health::FAILED_ACTIVE_CHECK),
            (old.outlier.is_some(), new.outlier.is_some(), Health::FAILED_OUTLIER_CHECK),
        ] {
            if had && !has {
                for host in self.hosts() {
                    host.set_health(flag, false, now);
                }
            }
        }
    }

    /// Marks the hosts that `after` no longer has.
    pub(crate) fn retire_hosts(&self, after: Option<&Self>) {
        let kept: HashSet<_, ahash::RandomState> =
            after.into_iter().flat_map(|after| after.hosts()).map(|host| host.id).collect();
        for host in self.hosts().iter().filter(|host| !kept.contains(&host.id)) {
            host.retire();
        }
    }

    /// Its hosts, by locality, as they are now.
    #[must_use]
    pub fn localities(&self) -> Vec<LocalitySpec> {
        let mut localities = self.localities.to_vec();
        for host in self.hosts() {
            localities[usize::from(host.locality)].hosts.push(host.spec());
        }
        localities
    }

    /// Its settings and hosts, as a spec.
    #[must_use]
    pub fn spec(&self) -> ClusterSpec {
        ClusterSpec { localities: self.localities(), ..(*self.spec).clone() }
    }

    /// The part of its weight that a host of it has at the time `now`, above 0 and below 1; `None` = all.
    #[must_use]
    pub fn slow_start(&self, host: &Host, now: Instant) -> Option<f64> {
        let spec = self.spec.balancing.slow_start.as_ref()?;
        Some(slow_start::part(spec, host, now)).filter(|part| *part < 1.0)
    }

    /// [`Host::active_requests`] of a host of it; `None` = nothing asks for them to be counted.
    #[must_use]
    pub fn active_requests(&self, host: &Host) -> Option<u32> {
        self.observer.is_some().then(|| host.active_requests())
    }

    /// [`Host::active_connections`] of a host of it; `None` = nothing asks for them to be counted.
    #[must_use]
    pub fn active_connections(&self, host: &Host) -> Option<u32> {
        self.counts_connections().then(|| host.active_connections())
    }

    /// All of its hosts, healthy or not.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<Host>] {
        self.hosts.hosts()
    }

    /// How many hosts a request of this kind can choose from, healthy or not.
    #[must_use]
    pub fn host_count(&self, cx: &ChooseContext<'_>) -> usize {
        let Some(subsets) = &self.subsets else { return self.hosts().len() };
        let hosts = match subsets.find(cx.metadata) {
            Found::All => Some(&self.hosts),
            Found::Subset(hosts) => Some(hosts),
            Found::Nothing => subsets.fall_back(&self.hosts),
        };
        hosts.map_or(0, |hosts| hosts.hosts().len())
    }

    /// A host for a request; `None` if no healthy one suits it. The answer is another one each time,
    /// so a retry asks again, with the hosts that it tried in `cx.previous`.
    pub fn choose(&self, cx: &mut ChooseContext<'_>) -> Option<&Arc<Host>> {
        let terms = Terms {
            panic: false,
            slow_start: self.spec.balancing.slow_start.as_ref(),
            averages: self.observer.as_ref().and_then(|observer| observer.averages.as_ref()),
            requests: self.observer.as_ref().map(|observer| observer.requests()),
        };
        let Some(subsets) = &self.subsets else { return self.hosts.choose(cx, terms) };
        match subsets.find(cx.metadata) {
            Found::All => return self.hosts.choose(cx, terms),
            Found::Subset(hosts) => {
                let host = hosts.choose(cx, terms);
                if host.is_some() {
                    return host;
                }
            }
            Found::Nothing => {}
        }
        let hosts = subsets.fall_back(&self.hosts)?;
        subsets.count_fallback();
        hosts.choose(cx, terms)
    }

    /// How it is known where requests go, if that is not for a balancer to say.
    #[must_use]
    pub fn original_dst(&self) -> Option<&OriginalDstSpec> {
        self.spec.balancing.original_dst.as_deref()
    }

    /// The host of a request of which it is known where it goes: of no cluster's list, never checked,
    /// and to be kept by the caller; a name without a port has 80. `None` if that is no address.
    #[must_use]
    pub fn destination(&self, target: &str) -> Option<Arc<Host>> {
        let spec = self.original_dst()?;
        let address = match HostAddress::parse(target) {
            Some(HostAddress::Unix(_)) => return None,
            Some(HostAddress::Ip(address)) if spec.replace_local => format!("127.0.0.1:{}", address.port()),
            Some(HostAddress::Name { port, .. }) if spec.replace_local => format!("127.0.0.1:{port}"),
            Some(_) => target.to_owned(),
            // As in MOSN, not replaced by the local address then.
            None => format!("{target}:80"),
        };
        let host = HostSpec {
            address: address.into(),
            hostname: target.into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        Host::new(&host, 0, None)
    }

    /// Notes that a request is sent to one of its hosts, where a balancer or outlier detection wants
    /// to know; costs nothing elsewhere.
    pub fn begin(&self, host: &Arc<Host>) -> Attempt {
        self.observer.as_ref().map_or_else(Attempt::unseen, |observer| observer.begin(host))
    }

    /// Lets hosts back in that outlier detection left out for long enough, and compares success
    /// rates. To be called by the control plane each [`Self::outlier_interval`].
    pub fn sweep_outliers(&self, now: Instant) -> Vec<OutlierEvent> {
        let outlier = self.observer.as_ref().and_then(|observer| observer.outlier.as_ref());
        outlier.map_or_else(Vec::new, |outlier| outlier.sweep(self.hosts(), now))
    }

    /// Hosts that outlier detection left out since this was last asked.
    pub fn outlier_news(&self) -> Vec<OutlierEvent> {
        let outlier = self.observer.as_ref().and_then(|observer| observer.outlier.as_ref());
        outlier.map_or_else(Vec::new, |outlier| outlier.news(self.hosts()))
    }

    /// How many hosts outlier detection leaves out, as of the last sweep and what was left out since.
    #[must_use]
    pub fn ejected_hosts(&self) -> u32 {
        let outlier = self.observer.as_ref().and_then(|observer| observer.outlier.as_ref());
        outlier.map_or(0, |outlier| outlier.ejected())
    }

    /// Whether it has subsets.
    #[must_use]
    pub fn has_subsets(&self) -> bool {
        self.subsets.is_some()
    }

    /// How often [`Self::sweep_outliers`] is to be called; `None` = never.
    #[must_use]
    pub fn outlier_interval(&self) -> Option<Duration> {
        self.spec.health.outlier.as_ref().map(|outlier| outlier.interval)
    }

    /// Where its hosts come from.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.spec.discovery
    }

    /// How its hosts are to be checked; `None` = not at all.
    #[must_use]
    pub fn health_check(&self) -> Option<&HealthCheckSpec> {
        self.spec.health.check.as_deref()
    }

    /// How many subsets there are (`lb_subsets_created`), and how often there was none for a request
    /// and another host took it (`lb_subsets_fallback`).
    #[must_use]
    pub fn subset_numbers(&self) -> (usize, u64) {
        self.subsets.as_ref().map_or((0, 0), |subsets| subsets.numbers())
    }

    /// The limits of a priority's requests, and what counts against them.
    fn limits(&self, priority: Priority) -> (&Breakers, Option<&RetryBudgetSpec>, &Arc<InFlight>) {
        let in_flight = &self.in_flight[priority as usize];
        let high = &self.spec.high_priority;
        match priority {
            Priority::Default => (&self.breakers, self.spec.retry_budget.as_ref(), in_flight),
            Priority::High => (&high.breakers, high.retry_budget.as_ref(), in_flight),
        }
    }

    /// Counts a request until the token is dropped, if their number is limited.
    ///
    /// # Errors
    /// [`Overflow::Requests`] if the limit is reached.
    pub fn try_acquire_request(&self, priority: Priority) -> Result<RequestToken, Overflow> {
        let (breakers, budget, in_flight) = self.limits(priority);
        in_flight.request(breakers.max_requests, budget.is_some())
    }

    /// Counts a request that waits for a connection, as [`Self::try_acquire_request`] does.
    ///
    /// # Errors
    /// [`Overflow::Pending`] if the limit is reached.
    pub fn try_acquire_pending(&self, priority: Priority) -> Result<PendingToken, Overflow> {
        let (breakers, _, in_flight) = self.limits(priority);
        in_flight.pending(breakers.max_pending_requests)
    }

    /// Counts a retry, as [`Self::try_acquire_request`] does. Where there is a retry budget, retries
    /// are also limited to their part of the requests in flight, so that they cannot multiply the
    /// load of hosts that fail because of it.
    ///
    /// # Errors
    /// [`Overflow::Retries`] if the limit is reached.
    pub fn try_acquire_retry(&self, priority: Priority) -> Result<RetryToken, Overflow> {
        let (breakers, budget, in_flight) = self.limits(priority);
        in_flight.retry(breakers.max_retries, budget)
    }

    /// Counts a connection to one of its hosts, as [`Self::try_acquire_request`] does. The limit is
    /// per host and for all workers together.
    ///
    /// # Errors
    /// [`Overflow::Connections`] if the limit is reached.
    pub fn try_acquire_connection(&self, host: &Arc<Host>) -> Result<ConnectionToken, Overflow> {
        let counted = self.spec.balancer == BalancerKind::LeastConnection;
        breakers::connection(host, self.breakers.max_connections, counted)
    }

    /// Whether its connections may also serve other clusters that ask the same of them. Not where
    /// they are counted for this cluster.
    #[must_use]
    pub fn shares_connections(&self) -> bool {
        !self.own_pools && !self.counts_connections()
    }

    fn counts_connections(&self) -> bool {
        self.breakers.max_connections > 0 || self.spec.balancer == BalancerKind::LeastConnection
    }

    /// Counts a connection that is there whatever the limit: a worker needs one to send anything at all.
    pub fn count_connection(&self, host: &Arc<Host>) -> ConnectionToken {
        breakers::connection(host, 0, self.counts_connections()).unwrap_or_default()
    }

    /// Requests, waiting requests and retries of this priority in flight, each counted only while it is
    /// limited.
    #[must_use]
    pub fn in_flight(&self, priority: Priority) -> [u32; 3] {
        self.limits(priority).2.now()
    }
}

/// One locality without a name: what MOSN's JSON has.
pub(crate) fn one_locality(hosts: Vec<HostSpec>) -> Vec<LocalitySpec> {
    vec![LocalitySpec { hosts, ..LocalitySpec::default() }]
}
