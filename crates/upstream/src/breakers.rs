//! Circuit breakers: limits on what a cluster, or one of its hosts, has in flight.

use std::sync::{
    Arc,
    atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};

use mosn_config::model::RetryBudgetSpec;

use crate::Host;

/// A limit is reached. Answered at once, never retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// `max_connections` of the host.
    #[error("the host has as many connections as max_connections allows")]
    Connections,
    /// `max_pending_requests` of the cluster.
    #[error("as many requests wait for a connection as max_pending_requests allows")]
    Pending,
    /// `max_requests` of the cluster.
    #[error("the cluster has as many requests in flight as max_requests allows")]
    Requests,
    /// `max_retries` of the cluster.
    #[error("the cluster has as many retries in flight as max_retries allows")]
    Retries,
}

/// What is in flight, counted only where there is a limit. Outlives updates of the cluster.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
}

/// A request in flight; ends with the value.
#[derive(Debug, Default)]
#[must_use]
pub struct RequestToken(Option<Arc<InFlight>>);

/// A request that waits for a connection; ends with the value.
#[derive(Debug, Default)]
#[must_use]
pub struct PendingToken(Option<Arc<InFlight>>);

/// A retry in flight; ends with the value.
#[derive(Debug, Default)]
#[must_use]
pub struct RetryToken(Option<Arc<InFlight>>);

/// A connection to a host; ends with the value.
#[derive(Debug, Default)]
#[must_use]
pub struct ConnectionToken(Option<Arc<Host>>);

impl InFlight {
    /// `limit` 0 = none; the request is counted only if there is one, or if `counted` says so.
    pub(crate) fn request(self: &Arc<Self>, limit: u32, counted: bool) -> Result<RequestToken, Overflow> {
        let limit = if limit == 0 && counted { u32::MAX } else { limit };
        match limit {
            0 => Ok(RequestToken(None)),
            _ if take(&self.requests, limit) => Ok(RequestToken(Some(self.clone()))),
            _ => Err(Overflow::Requests),
        }
    }

    pub(crate) fn pending(self: &Arc<Self>, limit: u32) -> Result<PendingToken, Overflow> {
        match limit {
            0 => Ok(PendingToken(None)),
            _ if take(&self.pending, limit) => Ok(PendingToken(Some(self.clone()))),
            _ => Err(Overflow::Pending),
        }
    }

    /// `limit` 0 = none but the budget's. A budget needs all requests to be counted.
    pub(crate) fn retry(
        self: &Arc<Self>,
        limit: u32,
        budget: Option<&RetryBudgetSpec>,
    ) -> Result<RetryToken, Overflow> {
        let budget = budget.map(|budget| {
            let part = f64::from(self.requests.load(Relaxed)) * budget.percent / 100.0;
            (part as u32).max(budget.min_concurrency)
        });
        let limit = match (limit, budget) {
            (_, Some(0)) => return Err(Overflow::Retries),
            (0, budget) => budget.unwrap_or(0),
            (limit, budget) => limit.min(budget.unwrap_or(limit)),
        };
        match limit {
            0 => Ok(RetryToken(None)),
            _ if take(&self.retries, limit) => Ok(RetryToken(Some(self.clone()))),
            _ => Err(Overflow::Retries),
        }
    }

    /// Requests, waiting requests and retries in flight, as far as they are limited.
    pub(crate) fn now(&self) -> [u32; 3] {
        [&self.requests, &self.pending, &self.retries].map(|count| count.load(Relaxed))
    }
}

/// `limit` 0 = none; the connection is counted only if there is one, or if `counted` says so.
pub(crate) fn connection(host: &Arc<Host>, limit: u32, counted: bool) -> Result<ConnectionToken, Overflow> {
    if limit == 0 && !counted {
        return Ok(ConnectionToken(None));
    }
    if limit == 0 {
        return take_connection(host, u32::MAX).ok_or(Overflow::Connections);
    }
    // Those who wait were here before.
    let room = if host.is_wanted() { None } else { take_connection(host, limit) };
    room.ok_or(Overflow::Connections)
}

/// A place among at most `limit` connections.
pub(crate) fn take_connection(host: &Arc<Host>, limit: u32) -> Option<ConnectionToken> {
    let taken = host.connections().fetch_update(SeqCst, SeqCst, |now| (now < limit).then(|| now + 1));
    taken.is_ok().then(|| ConnectionToken(Some(host.clone())))
}

fn take(count: &AtomicU32, limit: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |now| (now < limit).then(|| now + 1)).is_ok()
}

impl Drop for RequestToken {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.0 {
            in_flight.requests.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for PendingToken {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.0 {
            in_flight.pending.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for RetryToken {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.0 {
            in_flight.retries.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for ConnectionToken {
    fn drop(&mut self) {
        if let Some(host) = &self.0 {
            host.release_connection();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_until_a_token_is_dropped() {
        let in_flight = Arc::new(InFlight::default());
        let one = in_flight.request(2, false).unwrap();
        let _two = in_flight.request(2, false).unwrap();
        assert_eq!(in_flight.request(2, false).unwrap_err(), Overflow::Requests);
        drop(one);
        let _three = in_flight.request(2, false).unwrap();
        assert_eq!(in_flight.now(), [2, 0, 0]);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let in_flight = Arc::new(InFlight::default());
        let _tokens = (
            in_flight.request(0, false).unwrap(),
            in_flight.retry(0, None).unwrap(),
            in_flight.pending(0).unwrap(),
        );
        assert_eq!(in_flight.now(), [0; 3]);
    }

    #[test]
    fn a_limit_that_shrinks_below_what_is_in_flight_lets_nothing_in() {
        let in_flight = Arc::new(InFlight::default());
        let tokens = [in_flight.retry(3, None).unwrap(), in_flight.retry(3, None).unwrap()];
        assert_eq!(in_flight.retry(1, None).unwrap_err(), Overflow::Retries);
        drop(tokens);
        assert!(in_flight.retry(1, None).is_ok());
    }

    #[test]
    fn workers_together_never_pass_a_limit() {
        let in_flight = Arc::new(InFlight::default());
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Ok(_token) = in_flight.request(3, false) {
                            most.fetch_max(in_flight.now()[0], Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Relaxed)));
        assert_eq!(in_flight.now(), [0; 3]);
    }

    #[test]
    fn a_budget_lets_retries_be_a_part_of_the_requests() {
        let in_flight = Arc::new(InFlight::default());
        let budget = RetryBudgetSpec { percent: 20.0, min_concurrency: 2 };
        let granted = |limit| {
            let tokens: Vec<_> = std::iter::repeat_with(|| in_flight.retry(limit, Some(&budget)))
                .map_while(Result::ok)
                .collect();
            tokens.len()
        };
        assert_eq!(granted(0), 2);
        let requests: Vec<_> = (0..50).map(|_| in_flight.request(0, true).unwrap()).collect();
        assert_eq!(granted(0), 10);
        assert_eq!(granted(4), 4);
        drop(requests);
        assert_eq!(granted(0), 2);
        assert_eq!(in_flight.now(), [0; 3]);
        let none = RetryBudgetSpec { percent: 0.0, min_concurrency: 0 };
        assert_eq!(in_flight.retry(0, Some(&none)).unwrap_err(), Overflow::Retries);
    }
}
