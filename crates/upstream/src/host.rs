use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Instant,
};

use mosn_config::model::{HostSpec, Name};

use crate::{HostAddress, clock, observe::HostRecord, room::Room};

/// A host's identity: unique in the process, the same as long as its cluster has its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u64);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Counts changes of any host's health, so that what was worked out from health can tell that it
/// may be out of date.
static HEALTH_CHANGES: AtomicU64 = AtomicU64::new(1);

pub(crate) fn health_changes() -> u64 {
    HEALTH_CHANGES.load(Relaxed)
}

/// One host of one cluster.
///
/// It never changes but for its counters and its health. When its settings change, another object
/// with the same id takes its place and goes on with the same counters.
#[derive(Debug)]
pub struct Host {
    /// Stays the same while the cluster has this address.
    pub id: HostId,
    /// Where it is.
    pub address: HostAddress,
    /// The address as configured.
    pub address_text: Name,
    /// Its name for logs and host rewriting.
    pub hostname: Option<Name>,
    /// Above 0.
    pub weight: u32,
    /// Speaks plain text even where the cluster has TLS.
    pub tls_disable: bool,
    /// Labels, by namespace.
    pub metadata: Option<Labels>,
    /// Index of its locality in the cluster.
    pub locality: u16,
    /// The first object of this id, which has the counters; `None` if this is it.
    first: Option<Arc<Host>>,
    state: State,
}

/// Labels by namespace and key.
pub(crate) type Labels = Arc<BTreeMap<Name, BTreeMap<Name, Name>>>;

#[derive(Debug, Default)]
struct State {
    health: AtomicU64,
    /// When it came or last recovered (see [`clock`]).
    fresh_since: AtomicU64,
    requests: AtomicU32,
    connections: AtomicU32,
    /// Workers whose requests wait for room, where connections are limited.
    wanting: AtomicU32,
    retired: AtomicBool,
    /// What few hosts need; made when something first asks.
    rare: OnceLock<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// What became of its requests.
    record: HostRecord,
    room: Room,
}

/// Why a host is not to be used: a set of flags, empty for a healthy one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health(u64);

impl Health {
    /// Nothing is wrong.
    pub const HEALTHY: Self = Self(0);
    /// Active checks fail.
    pub const FAILED_ACTIVE_CHECK: Self = Self(0x1);
    /// Ejected for failing requests.
    pub const FAILED_OUTLIER_CHECK: Self = Self(0x2);

    /// The flags' bits, as MOSN numbers them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Host {
    /// A host; `before` is the one with this address that the cluster had until now, if any. It is
    /// kept as it is if nothing changed. `None` if the address is not valid.
    pub(crate) fn new(spec: &HostSpec, locality: u16, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let hostname = (!spec.hostname.is_empty()).then(|| spec.hostname.clone());
        let weight = spec.weight.max(1);
        if let Some(before) = before.filter(|before| {
            before.hostname == hostname
                && before.weight == weight
                && before.tls_disable == spec.tls_disable
                && before.locality == locality
                && before.metadata.as_deref() == spec.metadata.as_deref()
        }) {
            return Some(before.clone());
        }
        let address = match before {
            Some(before) => before.address.clone(),
            None => HostAddress::parse(&spec.address)?,
        };
        Some(Arc::new(Self {
            id: before.map_or_else(|| HostId(NEXT_ID.fetch_add(1, Relaxed)), |before| before.id),
            address,
            address_text: spec.address.clone(),
            hostname,
            weight,
            tls_disable: spec.tls_disable,
            metadata: spec.metadata.as_deref().map(|labels| Arc::new(labels.clone())),
            locality,
            first: before.map(|before| before.first.as_ref().unwrap_or(before).clone()),
            state: State { fresh_since: clock::millis(Instant::now()).into(), ..State::default() },
        }))
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> HostSpec {
        HostSpec {
            address: self.address_text.clone(),
            hostname: self.hostname.clone().unwrap_or_default(),
            weight: self.weight,
            metadata: self.metadata.as_ref().map(|labels| Box::new((**labels).clone())),
            tls_disable: self.tls_disable,
        }
    }

    fn state(&self) -> &State {
        self.first.as_ref().map_or(&self.state, |first| &first.state)
    }

    /// Whether it may be used.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.health() == Health::HEALTHY
    }

    /// Its health flags.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.state().health.load(Relaxed))
    }

    /// Sets or clears flags at the time `now`; whether that changed any. A host whose last flag is
    /// cleared starts slowly, like a new one.
    ///
    /// This host only: [`Clusters::set_health`](crate::Clusters::set_health) is for what is true of
    /// the address in every cluster.
    pub fn set_health(&self, flags: Health, on: bool, now: Instant) -> bool {
        let state = self.state();
        let before = match on {
            true => state.health.fetch_or(flags.0, Relaxed),
            false => state.health.fetch_and(!flags.0, Relaxed),
        };
        let after = if on { before | flags.0 } else { before & !flags.0 };
        if after == before {
            return false;
        }
        if after == 0 {
            state.fresh_since.store(clock::millis(now), Relaxed);
        }
        HEALTH_CHANGES.fetch_add(1, Relaxed);
        true
    }

    /// When it came or last recovered, in [`clock::millis`].
    pub(crate) fn fresh_since(&self) -> u64 {
        self.state().fresh_since.load(Relaxed)
    }

    /// Requests in flight, counted where the balancer or a breaker asks for it.
    #[must_use]
    pub fn active_requests(&self) -> u32 {
        self.state().requests.load(Relaxed)
    }

    /// Open connections, counted where the balancer or a breaker asks for it.
    #[must_use]
    pub fn active_connections(&self) -> u32 {
        self.state().connections.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> &AtomicU32 {
        &self.state().requests
    }

    pub(crate) fn connections(&self) -> &AtomicU32 {
        &self.state().connections
    }

    /// Whether requests wait for room, as far as this thread has heard.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state().wanting.load(Relaxed) > 0
    }

    pub(crate) fn count_wanting(&self, more: bool) {
        let wanting = &self.state().wanting;
        // Before whoever wants room looks for it: see `release_connection`.
        let _ = if more { wanting.fetch_add(1, SeqCst) } else { wanting.fetch_sub(1, SeqCst) };
    }

    /// A connection that was counted is over. Either we see that somebody wants room, or they see it.
    pub(crate) fn release_connection(&self) {
        self.state().connections.fetch_sub(1, SeqCst);
        if self.state().wanting.load(SeqCst) > 0 {
            self.room().ring();
        }
    }

    fn rare(&self) -> &Rare {
        self.state().rare.get_or_init(Box::default)
    }

    pub(crate) fn room(&self) -> &Room {
        &self.rare().room
    }

    pub(crate) fn record(&self) -> &HostRecord {
        &self.rare().record
    }

    /// Whether the cluster no longer has it, so that its pools can be drained once nothing uses it.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.state().retired.load(Relaxed)
    }

    pub(crate) fn retire(&self) {
        self.state().retired.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str, weight: u32) -> HostSpec {
        HostSpec { address: address.into(), hostname: "".into(), weight, metadata: None, tls_disable: false }
    }

    #[test]
    fn a_host_whose_settings_change_keeps_its_id_and_counters() {
        let one = Host::new(&spec("1.2.3.4:5", 1), 0, None).unwrap();
        let two = Host::new(&spec("1.2.3.4:5", 2), 0, Some(&one)).unwrap();
        let three = Host::new(&spec("1.2.3.4:5", 3), 0, Some(&two)).unwrap();
        assert_eq!(one.id, three.id);
        let now = Instant::now();
        assert!(one.set_health(Health::FAILED_ACTIVE_CHECK, true, now));
        assert!(!two.is_healthy() && !three.is_healthy());
        assert!(!three.set_health(Health::FAILED_ACTIVE_CHECK, true, now));
        assert!(three.set_health(Health::FAILED_ACTIVE_CHECK, false, now));
        assert!(one.is_healthy());
        let same = Host::new(&spec("1.2.3.4:5", 3), 0, Some(&three)).unwrap();
        assert!(Arc::ptr_eq(&same, &three));
    }

    #[test]
    fn a_hundred_thousand_hosts_are_small() {
        assert!(size_of::<Host>() + 16 <= 160, "{}", size_of::<Host>());
    }
}
