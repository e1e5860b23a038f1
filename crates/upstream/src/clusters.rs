use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ahash::RandomState;
use arc_swap::{ArcSwap, Guard};
use mosn_config::model::{ClusterSpec, HostSpec, LocalitySpec, Name};

use tokio::sync::watch;

use crate::{
    Cluster, ClusterError, Health, addresses::Addresses, cluster::one_locality, watch::ClusterWatch,
};

/// Every cluster of the process. Clones share it.
///
/// Changes are made one after the other by the control plane; each publishes a new [`ClusterMap`]
/// and costs the size of what changed, not the number of clusters. Readers never wait.
#[derive(Clone, Debug, Default)]
pub struct Clusters(Arc<Store>);

#[derive(Debug, Default)]
struct Store {
    map: ArcSwap<ClusterMap>,
    /// Held while a new map is made from the last one.
    writer: Mutex<Addresses>,
    /// How often another map was published.
    version: watch::Sender<u64>,
}

/// All clusters at some moment.
#[derive(Debug)]
pub struct ClusterMap {
    hasher: RandomState,
    /// A new map shares all shards but those that changed.
    shards: Box<[Arc<Shard>]>,
}

type Shard = HashMap<Name, Arc<Cluster>, RandomState>;

/// Copying the list of shards and copying one shard of 10,000 clusters cost about the same.
const SHARDS: usize = 128;

impl Clusters {
    /// No clusters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All clusters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ClusterMap> {
        self.0.map.load_full()
    }

    /// The same for a short look: cheaper, but not to be kept across an await.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<ClusterMap>> {
        self.0.map.load()
    }

    /// The cluster of this name as it is now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.load().get(name).cloned()
    }

    /// Follows all changes from now on; what there is already is reported first.
    #[must_use]
    pub fn watch(&self) -> ClusterWatch {
        ClusterWatch::new(self.clone(), self.0.version.subscribe())
    }

    /// How often they have changed; changes of hosts' health do not count.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.0.version.borrow()
    }

    /// Adds a cluster, or replaces the one of its name and its hosts. Hosts that stay keep their
    /// ids, health and counters.
    ///
    /// # Errors
    /// If the cluster cannot be built; then nothing has changed.
    pub fn add_or_update(&self, spec: ClusterSpec) -> Result<(), ClusterError> {
        let mut addresses = self.writer();
        let map = self.snapshot();
        let before = map.get(&spec.name);
        let cluster = Cluster::build(spec, before.map(|before| &**before))?;
        self.publish(&map, cluster, &mut addresses);
        Ok(())
    }

    /// Adds a cluster, or replaces the settings of the one of its name and leaves its hosts alone:
    /// they come from elsewhere.
    ///
    /// # Errors
    /// As for [`Self::add_or_update`].
    pub fn add_or_update_settings(&self, spec: ClusterSpec) -> Result<(), ClusterError> {
        let mut addresses = self.writer();
        let map = self.snapshot();
        let cluster = match map.get(&spec.name) {
            Some(before) => before.with_settings(spec)?,
            None => Cluster::build(spec, None)?,
        };
        self.publish(&map, cluster, &mut addresses);
        Ok(())
    }

    /// Replaces all clusters by these.
    ///
    /// # Errors
    /// Every cluster that cannot be built; then nothing has changed.
    pub fn set_all(&self, specs: Vec<ClusterSpec>) -> Result<(), Vec<ClusterError>> {
        let mut addresses = self.writer();
        let before = self.snapshot();
        let mut after = before.without_clusters();
        let mut shards: Vec<Shard> = (0..SHARDS).map(|_| after.empty_shard()).collect();
        let mut errors = Vec::new();
        for spec in specs {
            let shard = &mut shards[after.shard(&spec.name)];
            if shard.contains_key(&spec.name) {
                errors.push(ClusterError::Duplicate { cluster: spec.name });
                continue;
            }
            let old = before.get(&spec.name);
            match Cluster::build(spec, old.map(|old| &**old)) {
                Ok(cluster) => {
                    shard.insert(cluster.name.clone(), Arc::new(cluster));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        after.shards = shards.into_iter().map(Arc::new).collect();
        let after = Arc::new(after);
        after.iter().for_each(|cluster| addresses.add(cluster));
        self.store(after.clone());
        for old in before.iter() {
            let new = after.get(&old.name).map(|new| &**new);
            old.retire_hosts(new);
            addresses.remove_retired(old);
            if let Some(new) = new {
                new.forget_health(old);
            }
        }
        Ok(())
    }

    /// Replaces a cluster's hosts.
    ///
    /// # Errors
    /// If there is no such cluster, or an address is not valid; then nothing has changed.
    pub fn update_hosts(&self, name: &str, hosts: Vec<HostSpec>) -> Result<(), ClusterError> {
        self.update_localities(name, one_locality(hosts))
    }

    /// Replaces a cluster's hosts, of several localities.
    ///
    /// # Errors
    /// As for [`Self::update_hosts`].
    pub fn update_localities(&self, name: &str, localities: Vec<LocalitySpec>) -> Result<(), ClusterError> {
        self.change_hosts(name, |_| localities)
    }

    /// Adds hosts ahead of those that the cluster has; one whose address it has already replaces
    /// that.
    ///
    /// # Errors
    /// As for [`Self::update_hosts`].
    pub fn append_hosts(&self, name: &str, mut hosts: Vec<HostSpec>) -> Result<(), ClusterError> {
        self.change_hosts(name, |cluster| {
            let added: HashSet<Name> = hosts.iter().map(|host| host.address.clone()).collect();
            let mut localities = cluster.localities();
            for locality in &mut localities {
                locality.hosts.retain(|host| !added.contains(&host.address));
            }
            match localities.first_mut() {
                Some(first) => {
                    hosts.append(&mut first.hosts);
                    first.hosts = hosts;
                    localities
                }
                None => one_locality(hosts),
            }
        })
    }

    /// Removes the hosts of these addresses; addresses that the cluster does not have are ignored.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn remove_hosts(&self, name: &str, addresses: &[&str]) -> Result<(), ClusterError> {
        self.change_hosts(name, |cluster| {
            let mut localities = cluster.localities();
            for locality in &mut localities {
                locality.hosts.retain(|host| !addresses.contains(&&*host.address));
            }
            localities
        })
    }

    /// Removes clusters.
    ///
    /// # Errors
    /// If one of them does not exist; then none has been removed.
    pub fn remove(&self, names: &[&str]) -> Result<(), ClusterError> {
        let mut addresses = self.writer();
        let map = self.snapshot();
        if let Some(unknown) = names.iter().find(|name| map.get(name).is_none()) {
            return Err(ClusterError::Unknown { cluster: (*unknown).into() });
        }
        let mut after = map.copy();
        for name in names {
            let at = after.shard(name);
            Arc::make_mut(&mut after.shards[at]).remove(*name);
        }
        self.store(Arc::new(after));
        for name in names {
            if let Some(cluster) = map.get(name) {
                cluster.retire_hosts(None);
                addresses.remove_retired(cluster);
            }
        }
        Ok(())
    }

    fn change_hosts(
        &self,
        name: &str,
        hosts: impl FnOnce(&Cluster) -> Vec<LocalitySpec>,
    ) -> Result<(), ClusterError> {
        let mut addresses = self.writer();
        let map = self.snapshot();
        let cluster = map.get(name).ok_or_else(|| ClusterError::Unknown { cluster: name.into() })?;
        self.publish(&map, cluster.with_hosts(hosts(cluster))?, &mut addresses);
        Ok(())
    }

    /// Sets or clears health flags of an address in every cluster that has it, as in MOSN: what one
    /// cluster's check finds holds for all. Whether that changed any; false if no cluster has it.
    pub fn set_health(&self, address: &str, flags: Health, on: bool, now: Instant) -> bool {
        let mut addresses = self.writer();
        let hosts = addresses.hosts(address, || self.snapshot());
        hosts.into_iter().fold(false, |changed, host| host.set_health(flags, on, now) | changed)
    }

    /// Publishes `map` with this cluster in place of the one of its name.
    fn publish(&self, map: &ClusterMap, cluster: Cluster, addresses: &mut Addresses) {
        let cluster = Arc::new(cluster);
        addresses.add(&cluster);
        let mut after = map.copy();
        let at = after.shard(&cluster.name);
        let before = Arc::make_mut(&mut after.shards[at]).insert(cluster.name.clone(), cluster.clone());
        self.store(Arc::new(after));
        if let Some(before) = before {
            before.retire_hosts(Some(&cluster));
            addresses.remove_retired(&before);
            cluster.forget_health(&before);
        }
    }

    fn store(&self, map: Arc<ClusterMap>) {
        self.0.map.store(map);
        self.0.version.send_modify(|version| *version += 1);
    }

    fn writer(&self) -> MutexGuard<'_, Addresses> {
        // What a writer that panicked had not published is gone with it; the map is whole.
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterMap {
    /// The cluster of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.shards[self.shard(name)].get(name)
    }

    /// All clusters, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    /// The clusters that are not the same objects in `before`, each with what it was there; those of
    /// one name come together. Costs the size of what changed.
    pub(crate) fn differences<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Arc<Cluster>>, Option<&'a Arc<Cluster>>)> {
        // Maps of the same clusters have the same hasher, and so the same shards.
        self.shards.iter().zip(&before.shards).filter(|(new, old)| !Arc::ptr_eq(new, old)).flat_map(
            |(new, old)| {
                let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
                let gone = gone.map(|(_, cluster)| (Some(cluster), None));
                gone.chain(new.iter().filter_map(|(name, cluster)| match old.get(name) {
                    Some(same) if Arc::ptr_eq(same, cluster) => None,
                    before => Some((before, Some(cluster))),
                }))
            },
        )
    }

    /// Without clusters, but with the same places for them.
    pub(crate) fn without_clusters(&self) -> Self {
        let empty = Arc::new(self.empty_shard());
        Self { hasher: self.hasher.clone(), shards: vec![empty; SHARDS].into() }
    }

    fn copy(&self) -> Self {
        Self { hasher: self.hasher.clone(), shards: self.shards.clone() }
    }

    fn empty_shard(&self) -> Shard {
        Shard::with_hasher(self.hasher.clone())
    }

    /// Bits that the shard's own table does not use.
    fn shard(&self, name: &str) -> usize {
        (self.hasher.hash_one(name) >> 32) as usize % SHARDS
    }
}

impl Default for ClusterMap {
    fn default() -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(Shard::with_hasher(hasher.clone()));
        Self { hasher, shards: vec![empty; SHARDS].into_boxed_slice() }
    }
}

#[cfg(test)]
mod tests {
    use mosn_config::model::{Breakers, HealthSpec, HighPrioritySpec, Priority, RetryBudgetSpec};

    use super::*;
    use crate::Overflow;

    fn host(address: &str) -> HostSpec {
        HostSpec {
            address: address.into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        }
    }

    fn spec(name: &str, addresses: &[&str]) -> ClusterSpec {
        ClusterSpec {
            name: name.into(),
            breakers: Breakers { max_requests: 1, ..Breakers::default() },
            localities: one_locality(addresses.iter().copied().map(host).collect()),
            ..ClusterSpec::default()
        }
    }

    fn addresses(clusters: &Clusters, name: &str) -> Vec<String> {
        clusters.get(name).unwrap().hosts().iter().map(|host| host.address_text.to_string()).collect()
    }

    #[test]
    fn requests_of_high_priority_have_limits_of_their_own() {
        let clusters = Clusters::new();
        let limits = |max_requests| Breakers { max_requests, max_retries: 1, ..Breakers::default() };
        let budget = RetryBudgetSpec { percent: 0.0, min_concurrency: 0 };
        let high_priority = HighPrioritySpec { breakers: limits(2), retry_budget: Some(budget) };
        let spec = ClusterSpec { breakers: limits(1), high_priority, ..spec("a", &["1.1.1.1:1"]) };
        clusters.add_or_update(spec).unwrap();
        let cluster = clusters.get("a").unwrap();
        for (priority, most, retries) in [(Priority::Default, 1, 1), (Priority::High, 2, 0)] {
            let tokens: Vec<_> =
                std::iter::from_fn(|| cluster.try_acquire_request(priority).ok()).take(9).collect();
            assert_eq!(tokens.len(), most, "{priority:?}");
            assert_eq!(cluster.in_flight(priority)[0], most as u32);
            let tokens: Vec<_> =
                std::iter::from_fn(|| cluster.try_acquire_retry(priority).ok()).take(9).collect();
            assert_eq!(tokens.len(), retries, "{priority:?}");
        }
    }

    #[test]
    fn an_update_keeps_counters_ids_and_health_of_what_stays() {
        let clusters = Clusters::new();
        clusters.add_or_update(spec("a", &["1.1.1.1:1", "1.1.1.1:2"])).unwrap();
        let old = clusters.get("a").unwrap();
        let token = old.try_acquire_request(Priority::Default).unwrap();
        old.hosts()[1].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());

        clusters.add_or_update(spec("a", &["1.1.1.1:3", "1.1.1.1:2"])).unwrap();
        let new = clusters.get("a").unwrap();
        assert_eq!(new.hosts()[1].id, old.hosts()[1].id);
        assert!(!new.hosts()[1].is_healthy() && !new.hosts()[1].is_retired());
        assert!(old.hosts()[0].is_retired());
        assert_eq!(new.try_acquire_request(Priority::Default).unwrap_err(), Overflow::Requests);
        drop(token);
        assert!(new.try_acquire_request(Priority::Default).is_ok());
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let clusters = Clusters::new();
        clusters.add_or_update(spec("a", &["1.1.1.1:1"])).unwrap();
        let snapshot = clusters.snapshot();
        clusters.remove(&["a"]).unwrap();
        clusters.add_or_update(spec("b", &[])).unwrap();
        assert_eq!((snapshot.len(), clusters.snapshot().len()), (1, 1));
        assert!(snapshot.get("a").is_some() && clusters.get("a").is_none());
        assert!(snapshot.get("a").unwrap().hosts()[0].is_retired());
    }

    #[test]
    fn hosts_are_added_ahead_removed_by_address_and_never_twice() {
        let clusters = Clusters::new();
        clusters.add_or_update(spec("a", &["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:1"])).unwrap();
        assert_eq!(addresses(&clusters, "a"), ["1.1.1.1:1", "1.1.1.1:2"]);
        let heavy = HostSpec { weight: 7, ..host("1.1.1.1:2") };
        clusters.append_hosts("a", vec![host("1.1.1.1:3"), heavy]).unwrap();
        assert_eq!(addresses(&clusters, "a"), ["1.1.1.1:3", "1.1.1.1:2", "1.1.1.1:1"]);
        assert_eq!(clusters.get("a").unwrap().hosts()[1].weight, 7);
        clusters.remove_hosts("a", &["1.1.1.1:1", "9.9.9.9:9"]).unwrap();
        assert_eq!(addresses(&clusters, "a"), ["1.1.1.1:3", "1.1.1.1:2"]);
        clusters.update_hosts("a", vec![]).unwrap();
        assert!(addresses(&clusters, "a").is_empty());
        clusters.append_hosts("a", vec![host("name:80")]).unwrap();
        assert_eq!(addresses(&clusters, "a"), ["name:80"]);
    }

    #[test]
    fn settings_change_without_the_hosts() {
        let clusters = Clusters::new();
        clusters.add_or_update(spec("a", &["1.1.1.1:1"])).unwrap();
        clusters.add_or_update_settings(ClusterSpec { mark: 5, ..spec("a", &["2.2.2.2:2"]) }).unwrap();
        assert_eq!(addresses(&clusters, "a"), ["1.1.1.1:1"]);
        assert_eq!(clusters.get("a").unwrap().mark, 5);
        assert_eq!(clusters.get("a").unwrap().spec().localities[0].hosts[0].address, "1.1.1.1:1".into());
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let clusters = Clusters::new();
        clusters.add_or_update(spec("a", &["1.1.1.1:1"])).unwrap();
        let bad = ClusterError::BadAddress { cluster: "a".into(), address: "nowhere".into() };
        assert_eq!(clusters.update_hosts("a", vec![host("nowhere")]), Err(bad));
        assert_eq!(clusters.remove(&["a", "b"]), Err(ClusterError::Unknown { cluster: "b".into() }));
        assert_eq!(clusters.add_or_update(spec("", &[])), Err(ClusterError::NoName));
        assert_eq!(
            clusters.set_all(vec![spec("b", &[]), spec("b", &[]), spec("c", &["x"])]).unwrap_err().len(),
            2
        );
        assert_eq!(addresses(&clusters, "a"), ["1.1.1.1:1"]);
        assert!(clusters.get("b").is_none());
    }

    #[test]
    fn all_clusters_are_replaced_at_once() {
        let clusters = Clusters::new();
        clusters.set_all(vec![spec("a", &["1.1.1.1:1"]), spec("b", &["1.1.1.1:1"])]).unwrap();
        let old = clusters.snapshot();
        clusters.set_all(vec![spec("b", &["1.1.1.1:1"]), spec("c", &[])]).unwrap();
        assert!(clusters.get("a").is_none() && clusters.get("c").is_some());
        assert!(old.get("a").unwrap().hosts()[0].is_retired());
        assert_eq!(old.get("b").unwrap().hosts()[0].id, clusters.get("b").unwrap().hosts()[0].id);
    }

    #[test]
    fn what_a_check_finds_of_an_address_holds_in_every_cluster() {
        let clusters = Clusters::new();
        let now = Instant::now();
        clusters.set_all(vec![spec("a", &["1.1.1.1:1"]), spec("b", &["1.1.1.1:1", "1.1.1.1:2"])]).unwrap();
        let healthy = |name: &str| clusters.get(name).unwrap().hosts()[0].is_healthy();
        assert!(clusters.set_health("1.1.1.1:1", Health::FAILED_ACTIVE_CHECK, true, now));
        assert!(!clusters.set_health("1.1.1.1:1", Health::FAILED_ACTIVE_CHECK, true, now));
        assert!(!clusters.set_health("9.9.9.9:9", Health::FAILED_ACTIVE_CHECK, true, now));
        assert!(!healthy("a") && !healthy("b") && clusters.get("b").unwrap().hosts()[1].is_healthy());
        // Also where the address comes later, and as long as any cluster has it.
        clusters.add_or_update(spec("c", &["1.1.1.1:1"])).unwrap();
        clusters.remove(&["a", "b"]).unwrap();
        assert!(!healthy("c"));
        assert!(clusters.set_health("1.1.1.1:1", Health::FAILED_ACTIVE_CHECK, false, now));
        assert!(healthy("c"));
        clusters.remove(&["c"]).unwrap();
        assert!(!clusters.set_health("1.1.1.1:1", Health::FAILED_ACTIVE_CHECK, true, now));
        clusters.add_or_update(spec("d", &["1.1.1.1:1"])).unwrap();
        assert!(healthy("d"));
    }

    #[test]
    fn health_is_forgotten_with_what_found_it() {
        let clusters = Clusters::new();
        let outlier = HealthSpec { outlier: Some(Box::default()), check: None };
        let with = |health: HealthSpec| ClusterSpec { health, ..spec("a", &["1.1.1.1:1", "1.1.1.1:2"]) };
        clusters.add_or_update(with(outlier.clone())).unwrap();
        let host = clusters.get("a").unwrap().hosts()[0].clone();
        host.set_health(Health::FAILED_OUTLIER_CHECK, true, Instant::now());
        clusters.add_or_update(ClusterSpec { mark: 1, ..with(outlier) }).unwrap();
        assert!(!host.is_healthy());
        clusters.add_or_update(with(HealthSpec::default())).unwrap();
        assert!(host.is_healthy());
    }
}
