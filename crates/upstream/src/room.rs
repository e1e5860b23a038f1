//! Room for connections to a host that has as many as it may.
//!
//! Connections belong to workers, the limit to all of them together. A worker whose requests wait gets
//! what others let go of, and they let go of connections for its sake: of idle ones, and of one that
//! they still have use for if it has got nothing for a [`TURN`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{ConnectionToken, Host, breakers};

/// How long a worker that has got a connection leaves the others theirs. With less, busy workers would
/// spend their time, and the system's ports, on connecting.
const TURN: Duration = Duration::from_millis(10);

/// The workers that use a host whose connections are limited.
#[derive(Debug, Default)]
pub(crate) struct Room {
    members: Mutex<Vec<Member>>,
}

#[derive(Debug)]
struct Member {
    bell: Arc<Notify>,
    /// When it last had a connection for a request; `None` = never.
    served: Option<Instant>,
    waits: bool,
    /// It has told the others that its turn has come.
    asked: bool,
    /// Another worker has closed a connection for it.
    promised: bool,
}

impl Member {
    fn is(&self, bell: &Arc<Notify>) -> bool {
        Arc::ptr_eq(&self.bell, bell)
    }

    /// How long it has to wait until its turn.
    fn until_turn(&self, now: Instant) -> Duration {
        let served = self.served.map_or(TURN, |served| now.saturating_duration_since(served));
        TURN.saturating_sub(served)
    }

    fn got(&mut self, now: Instant) {
        (self.served, self.asked, self.promised) = (Some(now), false, false);
    }
}

impl Room {
    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is room: tells whoever has waited longest.
    pub(crate) fn ring(&self) {
        if let Some(first) = first(&self.members()) {
            first.bell.notify_one();
        }
    }
}

/// Who of those that wait has been without a connection the longest.
fn first(members: &[Member]) -> Option<&Member> {
    members.iter().filter(|member| member.waits).min_by_key(|member| member.served)
}

/// One worker's part in a host whose connections are limited.
#[derive(Debug)]
pub struct Seat {
    host: Arc<Host>,
    bell: Arc<Notify>,
}

impl Seat {
    /// A worker's part, for as long as it may have connections to the host.
    #[must_use]
    pub fn new(host: &Arc<Host>) -> Self {
        let bell = Arc::<Notify>::default();
        let member =
            Member { bell: Arc::clone(&bell), served: None, waits: false, asked: false, promised: false };
        host.room().members().push(member);
        Self { host: Arc::clone(host), bell }
    }

    /// What rings when there may be room for this worker, or when another one wants some.
    #[must_use]
    pub const fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }

    /// Whether requests wait for room, of whichever worker. One relaxed load.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.host.is_wanted()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Member) -> T) -> Option<T> {
        self.host.room().members().iter_mut().find(|member| member.is(&self.bell)).map(act)
    }

    /// Requests of this worker begin, or cease, to wait.
    pub fn set_waits(&self, waits: bool) {
        self.with(|member| {
            if member.waits != waits {
                (member.waits, member.asked, member.promised) = (waits, false, false);
                self.host.count_wanting(waits);
            }
        });
        if !waits && self.host.is_wanted() {
            // What it was told of is another's now.
            self.host.room().ring();
        }
    }

    /// Room for another of at most `limit` connections, if it is this worker's turn.
    #[must_use]
    pub fn take(&self, limit: u32, now: Instant) -> Option<ConnectionToken> {
        let mut members = self.host.room().members();
        if !first(&members)?.is(&self.bell) {
            return None;
        }
        let member = members.iter_mut().find(|member| member.is(&self.bell))?;
        let Some(token) = breakers::take_connection(&self.host, limit) else {
            if std::mem::take(&mut member.promised) {
                // Somebody else has it.
                member.asked = false;
                self.bell.notify_one();
            }
            return None;
        };
        member.got(now);
        drop(members);
        // There may be room for more than one.
        self.host.room().ring();
        Some(token)
    }

    /// Whether the connection at hand must be closed, because it is another worker's turn. If not, it
    /// counts as this worker's own.
    #[must_use]
    pub fn yields(&self, now: Instant) -> bool {
        if !self.host.is_wanted() {
            return false;
        }
        let mut members = self.host.room().members();
        if let Some(own) = members.iter_mut().find(|member| member.is(&self.bell)) {
            own.got(now);
        }
        let other = members
            .iter_mut()
            .filter(|member| member.waits && !member.promised && !member.is(&self.bell))
            .min_by_key(|member| member.served);
        match other {
            Some(other) if other.until_turn(now).is_zero() => {
                other.promised = true;
                true
            }
            _ => false,
        }
    }

    /// Asks the others for a connection, once, if it is this worker's turn. Returns how long it is until
    /// then; `None` = there is nothing to ask for.
    #[must_use]
    pub fn ask(&self, now: Instant) -> Option<Duration> {
        let mut members = self.host.room().members();
        let own = members.iter_mut().find(|member| member.is(&self.bell))?;
        if !own.waits || own.asked {
            return None;
        }
        let left = own.until_turn(now);
        if !left.is_zero() {
            return Some(left);
        }
        own.asked = true;
        for member in members.iter().filter(|member| !member.is(&self.bell)) {
            member.bell.notify_one();
        }
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.set_waits(false);
        self.host.room().members().retain(|member| !member.is(&self.bell));
        // Whoever listens must learn that it is over.
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use mosn_config::model::HostSpec;

    use super::*;

    fn host() -> Arc<Host> {
        let spec = HostSpec {
            address: "1.2.3.4:5".into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        Host::new(&spec, 0, None).unwrap()
    }

    fn is_rung(seat: &Seat) -> bool {
        let rung = std::pin::pin!(seat.bell.notified());
        rung.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn room_goes_to_whoever_has_been_without_the_longest() {
        let (host, now) = (host(), Instant::now());
        let [one, two] = [Seat::new(&host), Seat::new(&host)];
        one.set_waits(true);
        two.set_waits(true);
        let token = one.take(1, now).unwrap();
        assert!(two.take(1, now).is_none());
        drop(token);
        assert!(one.take(1, now).is_none(), "it has had its turn");
        is_rung(&one);
        assert!(is_rung(&two));
        let _token = two.take(1, now).unwrap();
        assert_eq!(host.active_connections(), 1);
    }

    #[test]
    fn while_somebody_waits_nobody_else_takes_the_room() {
        let host = host();
        let waits = Seat::new(&host);
        waits.set_waits(true);
        assert!(breakers::connection(&host, 1, false).is_err());
        waits.set_waits(false);
        assert!(breakers::connection(&host, 1, false).is_ok());
        drop(waits);
        assert!(host.room().members().is_empty());
    }

    #[test]
    fn a_worker_yields_one_connection_to_each_whose_turn_it_is() {
        let (host, now) = (host(), Instant::now());
        let [one, two] = [Seat::new(&host), Seat::new(&host)];
        assert!(!one.yields(now), "nobody waits");
        two.set_waits(true);
        assert!(one.yields(now));
        assert!(!one.yields(now), "two is promised one already");
        let token = two.take(1, now).unwrap();
        assert!(!one.yields(now), "two has just got one");
        assert!(one.yields(now + TURN), "it still waits, and a turn has passed");
        drop(token);
    }

    #[test]
    fn a_worker_asks_once_when_its_turn_comes() {
        let (host, now) = (host(), Instant::now());
        let [one, two] = [Seat::new(&host), Seat::new(&host)];
        assert_eq!(one.ask(now), None, "nobody waits");
        one.set_waits(true);
        assert_eq!(one.ask(now), None);
        assert!(is_rung(&two));
        assert_eq!(one.ask(now), None);
        assert!(!is_rung(&two), "it has asked already");
        let _token = one.take(1, now).unwrap();
        assert_eq!(one.ask(now), Some(TURN));
        assert!(!is_rung(&two), "two keeps what it has for a turn");
        assert_eq!(one.ask(now + TURN), None);
        assert!(is_rung(&two));
    }

    #[test]
    fn workers_that_take_turns_never_pass_the_limit_and_all_get_theirs() {
        let host = host();
        let most = std::sync::atomic::AtomicU32::new(0);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let seat = Seat::new(&host);
                    for _ in 0..2000 {
                        seat.set_waits(true);
                        let token = loop {
                            match seat.take(2, Instant::now()) {
                                Some(token) => break token,
                                None => std::thread::yield_now(),
                            }
                        };
                        seat.set_waits(false);
                        most.fetch_max(host.active_connections(), relaxed);
                        drop(token);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.load(relaxed)));
        assert_eq!(host.active_connections(), 0);
        assert!(!host.is_wanted() && host.room().members().is_empty());
    }
}
