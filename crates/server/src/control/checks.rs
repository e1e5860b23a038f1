//! Active health checks of all clusters.
//!
//! An address that several clusters ask the same way is asked once for all of them: health is the
//! address's, as in MOSN, and questions are what checks cost.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry},
    io,
    path::PathBuf,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use mosn_config::model::{HealthCheckSpec, LogOutput, ProbeSpec};
use mosn_net::Knocks;
use mosn_telemetry::{HealthCheckMetrics, LineLog, LogHandle, Registry};
use mosn_upstream::{
    CheckState, Cluster, ClusterChange, Clusters, Health, HostAddress, Verdict, event_log_line, first_check,
    next_check,
};
use tokio::sync::Notify;

use super::{
    names::KnownNames,
    probe,
    queue::{Queue, STEP},
};

/// Checks that run at the same time: each holds a socket.
const AT_ONCE: usize = 512;

/// First checks of many hosts that come at once are this far apart: they would go on together for
/// ever.
const APART: Duration = Duration::from_micros(100);

type Name = Arc<str>;

/// All checks.
pub(super) struct Checks {
    clusters: Clusters,
    registry: Registry,
    logs: LogHandle,
    known: Rc<KnownNames>,
    state: RefCell<State>,
    running: Cell<usize>,
    /// There may be something to do earlier than was known.
    woken: Notify,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Key, Rc<Session>, ahash::RandomState>,
    /// Who is to be asked next. A session that is gone is skipped.
    queue: Queue<Weak<Session>>,
    /// Ways to ask, so that sessions share them.
    ways: HashMap<HealthCheckSpec, Weak<HealthCheckSpec>, ahash::RandomState>,
    users: HashMap<(Name, Name), Weak<User>, ahash::RandomState>,
    /// Addresses that some session finds unhealthy, and how many do.
    failing: HashMap<Name, u32, ahash::RandomState>,
}

/// What tells sessions apart: whom to ask, and how.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: Name,
    way: Rc<HealthCheckSpec>,
}

/// One address that is asked in one way.
struct Session {
    key: Key,
    address: HostAddress,
    state: Cell<CheckState>,
    healthy: Cell<bool>,
    users: RefCell<Vec<Rc<User>>>,
}

/// Whose checks they are: the metrics of a service, and a log of its own.
struct User {
    metrics: Arc<HealthCheckMetrics>,
    log: Option<LineLog>,
}

impl Checks {
    pub(super) fn new(clusters: Clusters, registry: Registry, logs: LogHandle) -> Self {
        Self {
            clusters,
            registry,
            logs,
            known: Rc::default(),
            state: RefCell::default(),
            running: Cell::new(0),
            woken: Notify::new(),
        }
    }

    /// Starts and ends sessions as clusters come, change and go. One that stays goes on as it was.
    pub(super) fn follow(&self, changes: &[ClusterChange]) {
        let mut begun = 0;
        // Who stays must be there before who goes is let go, or it would begin anew.
        for cluster in changes.iter().filter_map(|change| change.after.as_deref()) {
            self.enter(cluster, &mut begun);
        }
        for cluster in changes.iter().filter_map(|change| change.before.as_deref()) {
            self.leave(cluster);
        }
        if changes.iter().any(|change| change.before.is_some()) {
            let state = &mut *self.state.borrow_mut();
            state.ways.retain(|_, way| way.strong_count() > 0);
            state.users.retain(|_, user| user.strong_count() > 0);
            // A cluster that dropped its own checks has just forgotten what another's found.
            for address in state.failing.keys() {
                self.clusters.set_health(address, Health::FAILED_ACTIVE_CHECK, true, Instant::now());
            }
        }
        self.woken.notify_one();
    }

    fn enter(&self, cluster: &Cluster, begun: &mut u32) {
        let Some(spec) = cluster.health_check() else { return };
        let way = self.way(spec);
        let user = self.user(cluster, spec);
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        for host in cluster.hosts() {
            let key = Key { address: Arc::clone(&host.address_text), way: Rc::clone(&way) };
            let failing = state.failing.contains_key(&key.address);
            let session = match state.sessions.entry(key) {
                Entry::Occupied(session) => Rc::clone(session.get()),
                Entry::Vacant(vacant) => {
                    let session = Rc::new(Session {
                        key: vacant.key().clone(),
                        address: host.address.clone(),
                        state: Cell::default(),
                        // What is known stays until an answer says otherwise.
                        healthy: Cell::new(!failing),
                        users: RefCell::default(),
                    });
                    vacant.insert(Rc::clone(&session));
                    if let Some(count) = state.failing.get_mut(&session.key.address) {
                        *count += 1;
                    }
                    let spread = spread(*begun, spec.interval);
                    *begun += 1;
                    state.queue.add(now + first_check(spec) + spread, Rc::downgrade(&session));
                    session
                }
            };
            user.metrics.healty.add(u64::from(session.healthy.get()));
            session.users.borrow_mut().push(Rc::clone(&user));
        }
    }

    fn leave(&self, cluster: &Cluster) {
        let Some(spec) = cluster.health_check() else { return };
        let (way, user) = (self.way(spec), self.user(cluster, spec));
        for host in cluster.hosts() {
            let key = Key { address: Arc::clone(&host.address_text), way: Rc::clone(&way) };
            let mut state = self.state.borrow_mut();
            let Some(session) = state.sessions.get(&key).cloned() else { continue };
            let mut users = session.users.borrow_mut();
            if let Some(at) = users.iter().position(|one| Rc::ptr_eq(one, &user)) {
                users.swap_remove(at);
                user.metrics.healty.sub(u64::from(session.healthy.get()));
            }
            if users.is_empty() {
                state.sessions.remove(&key);
                drop(state);
                if !session.healthy.get() {
                    self.count_failing(&key.address, false);
                }
            }
        }
    }

    /// What sessions of the same way share: everything but whose they are.
    fn way(&self, spec: &HealthCheckSpec) -> Rc<HealthCheckSpec> {
        let spec = HealthCheckSpec { service_name: "".into(), event_log: "".into(), ..spec.clone() };
        let mut state = self.state.borrow_mut();
        if let Some(way) = state.ways.get(&spec).and_then(Weak::upgrade) {
            return way;
        }
        let way = Rc::new(spec.clone());
        state.ways.insert(spec, Rc::downgrade(&way));
        way
    }

    fn user(&self, cluster: &Cluster, spec: &HealthCheckSpec) -> Rc<User> {
        let key = (Arc::clone(&spec.service_name), Arc::clone(&spec.event_log));
        let mut state = self.state.borrow_mut();
        if let Some(user) = state.users.get(&key).and_then(Weak::upgrade) {
            return user;
        }
        let log = (!spec.event_log.is_empty())
            .then(|| self.logs.line_log(&LogOutput::File(PathBuf::from(&*spec.event_log))));
        let log = log.and_then(|log| {
            log.map_err(|error| {
                tracing::error!(alert = "healthcheck.session", "checks of cluster {}: {error}", cluster.name);
            })
            .ok()
        });
        let user = Rc::new(User { metrics: self.registry.health_check(&spec.service_name), log });
        state.users.insert(key, Rc::downgrade(&user));
        user
    }

    /// Notes that one session more, or less, finds an address unhealthy.
    fn count_failing(&self, address: &Name, more: bool) {
        let mut state = self.state.borrow_mut();
        let count = state.failing.entry(Arc::clone(address)).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let failing = *count > 0;
        if !failing {
            state.failing.remove(address);
        }
        drop(state);
        self.clusters.set_health(address, Health::FAILED_ACTIVE_CHECK, failing, Instant::now());
    }

    /// Asks whoever is due, for ever.
    pub(super) async fn drive(self: Rc<Self>) {
        let mut knocks = Knocks::default();
        let mut now = Instant::now();
        loop {
            let again = now + STEP;
            let look = (!knocks.is_empty()).then_some(again);
            let due = self.state.borrow().queue.next().filter(|_| self.running.get() < AT_ONCE);
            let due = due.map(|at| at.max(again));
            let woken = self.woken.notified();
            match look.into_iter().chain(due).min() {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), woken).await;
                }
                None => woken.await,
            }
            now = Instant::now();
            for (session, answer) in knocks.decided(now) {
                self.knocked(&session, answer);
            }
            while self.running.get() < AT_ONCE {
                let Some(session) = self.state.borrow_mut().queue.take(now) else { break };
                let Some(session) = session.upgrade() else { continue };
                self.running.set(self.running.get() + 1);
                session.each(|user| user.metrics.attempt.inc());
                match (&session.address, &session.key.way.probe) {
                    (&HostAddress::Ip(address), ProbeSpec::Tcp) => {
                        let until = now + session.key.way.timeout;
                        let from = probe::from(&session.key.way);
                        if let Err((session, error)) = knocks.begin(address, from, until, session) {
                            self.knocked(&session, Err(error));
                        }
                    }
                    _ => drop(tokio::task::spawn_local(Rc::clone(&self).check(session))),
                }
            }
        }
    }

    fn knocked(&self, session: &Rc<Session>, answer: io::Result<()>) {
        let answer = match answer {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
            answer => Some(answer.map_err(|error| format!("cannot connect: {error}"))),
        };
        self.checked(session, answer);
    }

    async fn check(self: Rc<Self>, session: Rc<Session>) {
        let way = &session.key.way;
        let asked = probe::ask(&session.address, way, &self.known);
        let answer = tokio::time::timeout(way.timeout, asked).await;
        self.checked(&session, answer.ok());
    }

    /// Notes an answer, `None` if there was none in time, and that the next one is wanted.
    fn checked(&self, session: &Rc<Session>, answer: Option<Result<(), String>>) {
        let way = &session.key.way;
        if self.running.replace(self.running.get() - 1) == AT_ONCE {
            self.woken.notify_one();
        }
        if session.users.borrow().is_empty() {
            return;
        }
        let reason = match answer {
            Some(Ok(())) => None,
            Some(Err(reason)) => {
                session.each(|user| user.metrics.active_failure.inc());
                Some(reason)
            }
            None => {
                session.each(|user| user.metrics.network_failure.inc());
                Some(format!("no answer within {:?}", way.timeout))
            }
        };
        self.answered(session, reason.as_deref());
        let mut state = self.state.borrow_mut();
        // Later than all that are due before; the driver need not hear of it unless it waits for
        // longer.
        let first = state.queue.next();
        let at = Instant::now() + next_check(way);
        state.queue.add(at, Rc::downgrade(session));
        if first.is_none_or(|first| at < first) {
            self.woken.notify_one();
        }
    }

    fn answered(&self, session: &Session, reason: Option<&str>) {
        let (good, address) = (reason.is_none(), &session.key.address);
        let mut state = session.state.get();
        let verdict = state.answer(good, session.healthy.get(), &session.key.way);
        session.state.set(state);
        session.healthy.set(verdict.healthy);
        if verdict.changed {
            self.count_failing(address, !verdict.healthy);
            match reason {
                Some(reason) => tracing::warn!("{address} fails its health checks: {reason}"),
                None => tracing::info!("{address} passes its health checks again"),
            }
        }
        session.tell(good, verdict);
    }
}

/// How much later the first check of the session of this number is, of those that begin together.
fn spread(number: u32, interval: Duration) -> Duration {
    let spread = APART * number;
    // Where there are more than fit the interval, any place in it is as good.
    if spread < interval { spread } else { interval.mul_f64(fastrand::f64()) }
}

impl Session {
    fn each(&self, mut tell: impl FnMut(&User)) {
        self.users.borrow().iter().for_each(|user| tell(user));
    }

    fn tell(&self, good: bool, verdict: Verdict) {
        let unix = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.each(|user| {
            let metrics = &user.metrics;
            let count = if good { &metrics.success } else { &metrics.failure };
            count.inc();
            match verdict {
                Verdict { changed: true, healthy: true } => metrics.healty.inc(),
                Verdict { changed: true, healthy: false } => metrics.healty.dec(),
                _ => {}
            }
            if let Some(log) = &user.log {
                log.write(event_log_line(unix(), &self.key.address, good, verdict));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_checks_are_spread_over_the_interval_and_never_beyond() {
        let interval = Duration::from_secs(5);
        assert_eq!(spread(0, interval), Duration::ZERO);
        assert_eq!(spread(10, interval), Duration::from_millis(1));
        let late: Vec<_> = (50_000..51_000).map(|number| spread(number, interval)).collect();
        assert!(late.iter().all(|spread| *spread < interval));
        let early = late.iter().filter(|spread| **spread < interval / 2).count();
        assert!((400..600).contains(&early), "{early}");
    }
}
