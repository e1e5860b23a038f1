use std::time::Duration;

use crate::{Forward, Subject};

/// What a request without any setting gets (MOSN's, not the 15 s of its documentation).
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than any request; what comes from the network is capped to it so that no deadline
/// overflows.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What variables say about timeouts, in ms; they win over headers and the route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutOverrides {
    /// `proxy_global_timeout`; an RPC frame's own timeout arrives here.
    pub global: Option<i64>,
    /// `proxy_try_timeout`.
    pub per_try: Option<i64>,
}

/// The time that a request has, (all tries together, one try); `None` = no limit.
///
/// The route's settings give way to the request's headers `x-mosn-global-timeout` and
/// `x-mosn-try-timeout` (whole ms; anything else is ignored), and those to `overrides`. A global
/// timeout of 0 is the default of 60 s, a negative one is no limit, and neither leaves room for a
/// limit per try that is not below it.
#[must_use]
pub fn timeouts<S: Subject + ?Sized>(
    forward: &Forward,
    subject: &S,
    overrides: TimeoutOverrides,
) -> (Option<Duration>, Option<Duration>) {
    let global = overrides.global.or_else(|| integer(subject, "x-mosn-global-timeout"));
    let per_try = overrides.per_try.or_else(|| integer(subject, "x-mosn-try-timeout"));
    let global = match global {
        None if forward.timeout == Duration::MAX => None,
        None => Some(forward.timeout),
        Some(0) => Some(DEFAULT_TIMEOUT),
        // MOSN compares the limit per try with the negative number and drops it.
        Some(..0) => return (None, None),
        Some(ms) => Some(millis(ms)),
    };
    let per_try = match per_try {
        None => forward.per_try_timeout.filter(|limit| !limit.is_zero()),
        Some(..=0) => None,
        Some(ms) => Some(millis(ms)),
    };
    (global, per_try.filter(|&limit| global.is_none_or(|global| limit < global)))
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs()).min(LONGEST)
}

fn integer<S: Subject + ?Sized>(subject: &S, header: &str) -> Option<i64> {
    str::from_utf8(&subject.header(header)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use mosn_core::{BodyLength, Headers, RequestHead, Scheme};

    use super::*;
    use crate::{ForwardPolicy, Retry, action::Cluster};

    fn forward(timeout_ms: u64, per_try_ms: Option<u64>) -> Forward {
        Forward {
            policy: ForwardPolicy {
                timeout: Duration::from_millis(timeout_ms),
                per_try_timeout: per_try_ms.map(Duration::from_millis),
                retry: Retry::default(),
                buffer_limit: 0,
                priority: Default::default(),
                mirrors: Box::default(),
                upstream_protocol: None,
                hash_policy: None,
            }
            .into(),
            cluster: Cluster::Named("c".into()),
            metadata: None,
            rewrite: None,
        }
    }

    fn head(headers: Headers) -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Bytes::new(),
            path: Bytes::from_static(b"/"),
            headers,
            body: BodyLength::Empty,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        }
    }

    fn of(forward: &Forward, global: &str, per_try: &str) -> (Option<u64>, Option<u64>) {
        let mut headers = Headers::default();
        for (name, value) in [("X-Mosn-Global-Timeout", global), ("x-mosn-try-timeout", per_try)] {
            if !value.is_empty() {
                headers.set(name, value.as_bytes());
            }
        }
        let (global, per_try) = timeouts(forward, &head(headers), TimeoutOverrides::default());
        let ms = |limit: Option<Duration>| limit.map(|limit| limit.as_millis() as u64);
        (ms(global), ms(per_try))
    }

    #[test]
    fn headers_win_over_the_route() {
        let forward = forward(1000, Some(300));
        assert_eq!(of(&forward, "", ""), (Some(1000), Some(300)));
        assert_eq!(of(&forward, "200", ""), (Some(200), None));
        assert_eq!(of(&forward, "2000", "500"), (Some(2000), Some(500)));
        assert_eq!(of(&forward, "", "1000"), (Some(1000), None));
        assert_eq!(of(&forward, "soon", "1.5"), (Some(1000), Some(300)));
        assert_eq!(of(&forward, "0", "0"), (Some(60_000), None));
        assert_eq!(of(&forward, "-1", "100"), (None, None));
    }

    #[test]
    fn no_number_from_the_network_makes_a_deadline_overflow() {
        let (global, _) = of(&forward(1000, None), "9223372036854775807", "");
        assert_eq!(global, Some(LONGEST.as_millis() as u64));
    }

    #[test]
    fn variables_win_over_headers() {
        let mut headers = Headers::default();
        headers.set("x-mosn-global-timeout", b"200");
        let overrides = TimeoutOverrides { global: Some(500), per_try: Some(100) };
        assert_eq!(
            timeouts(&forward(1000, None), &head(headers), overrides),
            (Some(Duration::from_millis(500)), Some(Duration::from_millis(100)))
        );
    }
}
