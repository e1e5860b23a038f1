use std::time::Duration;

use http::StatusCode;
use mosn_config::model::{BackOffSpec, RetryCondition, RetrySpec};
use mosn_core::{Failure, ResponseHead};

/// MOSN's pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(10);

/// Classes of failures, a bit for each.
const CONNECT: u8 = 1 << 0;
const REFUSED: u8 = 1 << 1;
const TIMEOUT: u8 = 1 << 2;
const TERMINATED: u8 = 1 << 3;
const RESET: u8 = 1 << 4;
const ANY: u8 = CONNECT | REFUSED | TIMEOUT | TERMINATED | RESET;

/// When a request is sent again, and how often. The default is never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// At most this often.
    pub max_retries: u32,
    failures: u8,
    /// From one status to another, both included.
    statuses: Box<[(u16, u16)]>,
    /// Values of `grpc-status`, a bit for each.
    grpc: u32,
    back_off: Option<BackOffSpec>,
    /// A try whose time is up goes on beside the next one.
    pub hedge: bool,
}

impl Retry {
    /// Whether a request that an upstream may have got is ever sent again.
    pub(crate) const fn after_sending(&self) -> bool {
        self.failures & !(CONNECT | REFUSED) != 0 || !self.statuses.is_empty() || self.grpc != 0
    }

    pub(crate) fn new(spec: &RetrySpec) -> Self {
        let mut retry = Self {
            max_retries: spec.max_retries,
            back_off: spec.back_off,
            hedge: spec.hedge,
            ..Self::default()
        };
        let listed = spec.status_codes.iter().map(|&code| (code, code));
        let mut statuses = Vec::new();
        if spec.conditions.is_empty() {
            retry.failures = CONNECT | REFUSED;
            if spec.on_failure {
                retry.failures |= TIMEOUT | TERMINATED;
                statuses.extend(listed.clone());
                if statuses.is_empty() {
                    statuses.push((500, u16::MAX));
                }
            }
        }
        for condition in &spec.conditions {
            match condition {
                RetryCondition::ServerError => {
                    retry.failures |= ANY;
                    statuses.push((500, u16::MAX));
                }
                RetryCondition::GatewayError => {
                    retry.failures |= ANY;
                    statuses.push((502, 504));
                }
                RetryCondition::Reset => retry.failures |= ANY,
                RetryCondition::ConnectFailure => retry.failures |= CONNECT,
                RetryCondition::RefusedStream => retry.failures |= REFUSED,
                RetryCondition::StatusCodes => statuses.extend(listed.clone()),
                RetryCondition::Conflict => statuses.push((409, 409)),
                RetryCondition::Grpc(status) => {
                    retry.grpc |= 1_u32.checked_shl((*status).into()).unwrap_or(0);
                }
            }
        }
        retry.statuses = statuses.into_boxed_slice();
        retry
    }

    /// Whether this reply calls for another try.
    #[must_use]
    pub fn wants(&self, reply: &ResponseHead) -> bool {
        self.wants_status(reply.status) || (self.grpc != 0 && self.wants_grpc(reply))
    }

    fn wants_status(&self, status: StatusCode) -> bool {
        self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status.as_u16()))
    }

    /// A gRPC failure without a message says so in its head.
    fn wants_grpc(&self, reply: &ResponseHead) -> bool {
        let status = reply.headers.get("grpc-status").and_then(|value| str::from_utf8(value).ok());
        let bit = status.and_then(|status| status.parse().ok()).and_then(|status| 1_u32.checked_shl(status));
        bit.is_some_and(|bit| self.grpc & bit != 0)
    }

    /// Whether a try that failed like this calls for another one.
    #[must_use]
    pub const fn after(&self, why: Failure) -> bool {
        self.failures & class(why) != 0
    }

    /// How long to wait before the retry of this number, from 1.
    #[must_use]
    pub fn pause(&self, retry: u32) -> Duration {
        let Some(BackOffSpec { base, max }) = self.back_off else {
            return PAUSE;
        };
        let doubled = 2_u32.checked_pow(retry.saturating_sub(1)).and_then(|times| base.checked_mul(times));
        doubled.map_or(max, |pause| pause.min(max)).mul_f64(fastrand::f64())
    }
}

/// What kind of failure it is; none for those that no policy can make good.
const fn class(why: Failure) -> u8 {
    use Failure as F;
    match why {
        F::ConnectFailed | F::ConnectTimeout => CONNECT,
        F::UpstreamRefused => REFUSED,
        F::PerTryTimeout => TIMEOUT,
        F::UpstreamTerminated => TERMINATED,
        F::UpstreamClosed | F::UpstreamReset | F::UpstreamCancelled | F::LocalReset => RESET,
        F::NoRoute
        | F::NoCluster
        | F::NoHealthyHost
        | F::GlobalTimeout
        | F::Overflow
        | F::ClientGone
        | F::Drain
        | F::BadRequest
        | F::HeaderTimeout
        | F::BodyIdleTimeout
        | F::UriTooLong
        | F::HeaderTooLarge
        | F::PayloadTooLarge
        | F::NotImplemented => 0,
    }
}

#[cfg(test)]
mod tests {
    use mosn_core::{BodyLength, Headers};

    use super::*;

    fn on(names: &[&str]) -> Retry {
        let conditions = names.iter().map(|name| RetryCondition::from_name(name).unwrap()).collect();
        Retry::new(&RetrySpec { conditions, status_codes: vec![404], ..RetrySpec::default() })
    }

    fn reply(status: u16) -> ResponseHead {
        ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: Headers::default(),
            body: BodyLength::Empty,
        }
    }

    fn grpc(status: &str) -> ResponseHead {
        let mut reply = reply(200);
        reply.headers.append("grpc-status", status.as_bytes());
        reply
    }

    fn failures(retry: &Retry) -> Vec<Failure> {
        Failure::ALL.into_iter().filter(|&why| retry.after(why)).collect()
    }

    #[test]
    fn retry_on_means_what_it_means_in_mosn() {
        use Failure as F;
        let unseen = [F::ConnectFailed, F::ConnectTimeout, F::UpstreamRefused];
        let off = Retry::new(&RetrySpec::default());
        assert_eq!(failures(&off), unseen);
        assert!(!off.wants(&reply(503)));

        let all = Retry::new(&RetrySpec { on_failure: true, ..RetrySpec::default() });
        let more = [
            F::ConnectFailed,
            F::ConnectTimeout,
            F::UpstreamTerminated,
            F::UpstreamRefused,
            F::PerTryTimeout,
        ];
        assert_eq!(failures(&all), more);
        assert!(all.wants(&reply(500)) && all.wants(&reply(599)) && !all.wants(&reply(404)));

        let listed = RetrySpec { on_failure: true, status_codes: vec![404], ..RetrySpec::default() };
        let listed = Retry::new(&listed);
        assert!(listed.wants(&reply(404)) && !listed.wants(&reply(503)));
    }

    #[test]
    fn conditions_are_all_there_is() {
        use Failure as F;
        let silent = [
            F::ConnectFailed,
            F::ConnectTimeout,
            F::UpstreamClosed,
            F::UpstreamTerminated,
            F::UpstreamReset,
            F::UpstreamRefused,
            F::UpstreamCancelled,
            F::LocalReset,
            F::PerTryTimeout,
        ];
        for (name, statuses, expected) in [
            ("5xx", &[500, 502, 599][..], &silent[..]),
            ("gateway-error", &[502, 503, 504], &silent),
            ("reset", &[], &silent),
            ("connect-failure", &[], &[F::ConnectFailed, F::ConnectTimeout]),
            ("refused-stream", &[], &[F::UpstreamRefused]),
            ("retriable-status-codes", &[404], &[]),
            ("retriable-4xx", &[409], &[]),
            ("unavailable", &[], &[]),
        ] {
            let retry = on(&[name]);
            assert_eq!(failures(&retry), expected, "{name}");
            for status in [200, 404, 409, 500, 502, 503, 504, 599] {
                let wanted = statuses.contains(&status) || (name == "5xx" && status >= 500);
                assert_eq!(retry.wants(&reply(status)), wanted, "{name}: {status}");
            }
        }
    }

    #[test]
    fn grpc_failures_are_known_by_their_status() {
        let retry = on(&["unavailable", "cancelled"]);
        assert!(retry.wants(&grpc("14")) && retry.wants(&grpc("1")));
        for status in ["0", "13", "46", "4294967295", "-1", "", "x"] {
            assert!(!retry.wants(&grpc(status)), "{status}");
        }
    }

    #[test]
    fn pauses_grow_to_their_limit_and_are_spread() {
        let back_off = BackOffSpec { base: Duration::from_millis(25), max: Duration::from_millis(80) };
        let retry = Retry::new(&RetrySpec { back_off: Some(back_off), ..RetrySpec::default() });
        for (number, most) in [(1, 25), (2, 50), (3, 80), (4, 80), (u32::MAX, 80)] {
            let pauses: Vec<_> = (0..2000).map(|_| retry.pause(number).as_millis()).collect();
            let (low, high) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(*high <= most && *high > most * 9 / 10 && *low < most / 10, "{number}: {low} to {high}");
        }
        assert_eq!(Retry::new(&RetrySpec::default()).pause(7), PAUSE);
    }
}
