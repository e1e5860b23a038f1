//! The metrics sets and their keys (observability reference 2.2 and 2.3).

use mosn_core::Failure;

use super::{Counter, Histogram, histogram::MergedHistogram};

/// One metric of one shard, on its way to be summed.
pub(crate) enum Metric<'a> {
    Counter(&'a Counter),
    Gauge(&'a Counter),
    Histogram(&'a Histogram),
}

/// A set of metrics whose keys and kinds are the same in every shard.
pub(crate) trait MetricSet {
    /// Shows every metric, always the same ones in the same order.
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'static str, Metric<'a>));
}

/// One metric, summed over the shards of its set.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Counter(i64),
    Gauge(i64),
    Histogram(MergedHistogram),
}

/// Sums sets; keys come in the order of [`MetricSet::visit`].
pub(crate) fn sum<'a, S: MetricSet + 'a>(shards: impl Iterator<Item = &'a S>) -> Vec<(&'static str, Value)> {
    let mut total: Vec<(&'static str, Value)> = Vec::new();
    for shard in shards {
        let mut index = 0;
        shard.visit(&mut |key, metric| {
            if index == total.len() {
                let zero = match metric {
                    Metric::Counter(_) => Value::Counter(0),
                    Metric::Gauge(_) => Value::Gauge(0),
                    Metric::Histogram(_) => Value::Histogram(MergedHistogram::default()),
                };
                total.push((key, zero));
            }
            match (&mut total[index].1, metric) {
                (Value::Counter(sum), Metric::Counter(one)) | (Value::Gauge(sum), Metric::Gauge(one)) => {
                    *sum = sum.wrapping_add(one.get());
                }
                (Value::Histogram(sum), Metric::Histogram(one)) => sum.add(one),
                _ => unreachable!("a set shows the same kinds in every shard"),
            }
            index += 1;
        });
    }
    total
}

/// A struct of metrics whose keys are its fields' names.
macro_rules! metric_set {
    (
        $(#[$meta:meta])*
        $set:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $kind:ident $(as $shown:ident)?,)*
        }
        $(+ { $($(#[$extra_meta:meta])* $extra:ident: $extra_type:ty = $extra_keys:expr,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $set {
            $($(#[doc = $doc])+ pub $field: $kind,)*
            $($($(#[$extra_meta])* $extra: $extra_type,)*)?
        }

        impl MetricSet for $set {
            fn visit<'a>(&'a self, each: &mut dyn FnMut(&'static str, Metric<'a>)) {
                $(each(stringify!($field), metric_set!(@shown $kind $($shown)?)(&self.$field));)*
                $($(
                    for (key, counter) in $extra_keys.into_iter().zip(&self.$extra) {
                        each(key, Metric::Counter(counter));
                    }
                )*)?
            }
        }
    };
    (@shown $kind:ident) => { Metric::$kind };
    (@shown $kind:ident $shown:ident) => { Metric::$shown };
}

metric_set! {
    /// What came in: one set for the process (`proxy="global"`) and one for each listener.
    DownstreamMetrics {
        /// Connections opened.
        connection_total: Counter,
        /// Connections open.
        connection_active: Counter,
        /// Connections closed.
        connection_destroy: Counter,
        /// Bytes read, under TLS the decrypted ones.
        bytes_read_total: Counter,
        /// Bytes written, under TLS before encryption.
        bytes_write_total: Counter,
        /// Requests begun.
        request_total: Counter,
        /// Requests in flight.
        request_active: Counter,
        /// Requests whose client reset the stream or went away.
        request_reset: Counter,
        /// Nanoseconds from start to end.
        request_time: Histogram,
        /// Sum of `request_time`, nanoseconds.
        request_time_total: Counter,
        /// Nanoseconds that the proxy itself took.
        process_time: Histogram,
        /// Sum of `process_time`, nanoseconds.
        process_time_total: Counter,
        /// Requests with a flag of [`mosn_core::ResponseFlags::PROCESS_FAILED`].
        request_failed: Counter,
        /// Connections closed because the client flooded them with resets or control frames. Ours;
        /// Go MOSN has no such metric.
        connection_flood_closed: Counter,
        /// Copies of requests sent to other clusters. Ours; Go MOSN has no such metric.
        request_mirror: Counter,
        /// Copies that were not made: too many were in flight, or the body was too long or broke off. Ours.
        request_mirror_dropped: Counter,
    } + {
        status: [Counter; STATUS_KEYS.len()] = STATUS_KEYS,
        invalid: [Counter; INVALID_KEYS.len()] = INVALID_KEYS,
    }
}

/// Statuses that have a counter of their own, in the order of [`STATUS_KEYS`].
const STATUSES: [u16; 13] = [200, 206, 302, 304, 400, 403, 404, 416, 499, 500, 502, 503, 504];

const STATUS_KEYS: [&str; 14] = [
    "request_200_total",
    "request_206_total",
    "request_302_total",
    "request_304_total",
    "request_400_total",
    "request_403_total",
    "request_404_total",
    "request_416_total",
    "request_499_total",
    "request_500_total",
    "request_502_total",
    "request_503_total",
    "request_504_total",
    "request_other_code",
];

/// The counter of each status below 512.
const STATUS_INDEX: [u8; 512] = {
    let mut index = [STATUSES.len() as u8; 512];
    let mut at = 0;
    while at < STATUSES.len() {
        index[STATUSES[at] as usize] = at as u8;
        at += 1;
    }
    index
};

/// Requests that broke HTTP's rules or the listener's limits. Ours; Go MOSN has no such metrics.
const INVALID_KEYS: [&str; 5] = [
    "request_invalid_bad_request",
    "request_invalid_header_too_large",
    "request_invalid_uri_too_long",
    "request_invalid_header_timeout",
    "request_invalid_payload_too_large",
];

impl DownstreamMetrics {
    /// Counts a request's final status: 0, or one without a counter of its own, as
    /// `request_other_code`.
    #[inline]
    pub fn status(&self, code: u16) {
        let other = STATUSES.len() as u8;
        let index = STATUS_INDEX.get(usize::from(code)).copied().unwrap_or(other);
        self.status[usize::from(index)].inc();
    }

    /// Counts a request that was refused for what the client sent, by reason. Failures that are not
    /// the client's fault are not counted here.
    pub fn request_invalid(&self, failure: Failure) {
        let index = match failure {
            Failure::BadRequest => 0,
            Failure::HeaderTooLarge => 1,
            Failure::UriTooLong => 2,
            Failure::HeaderTimeout => 3,
            Failure::PayloadTooLarge => 4,
            _ => return,
        };
        self.invalid[index].inc();
    }
}

metric_set! {
    /// What went out: one set for each cluster and one for each of its hosts that had a request.
    UpstreamMetrics {
        /// Connections opened.
        connection_total: Counter,
        /// Connections open.
        connection_active: Counter,
        /// Connections closed, by either side.
        connection_close: Counter,
        /// Connections that the proxy closed.
        connection_local_close: Counter,
        /// Connections that the upstream closed.
        connection_remote_close: Counter,
        /// Connections that the proxy closed while a request was lost with them.
        connection_local_close_with_active_request: Counter,
        /// Connections that the upstream closed while a request was lost with them.
        connection_remote_close_with_active_request: Counter,
        /// Connects that failed.
        connection_con_fail: Counter,
        /// Cluster only: connects of the L4 proxies that failed and were tried at another host.
        connection_retry: Counter,
        /// Cluster only: bytes read.
        connection_bytes_read_total: Counter,
        /// Cluster only: bytes written; the key is MOSN's, without `_total`.
        connection_bytes_write: Counter,
        /// Requests sent.
        request_total: Counter,
        /// Requests in flight.
        request_active: Counter,
        /// Requests that the proxy reset.
        request_local_reset: Counter,
        /// Requests that the upstream reset.
        request_remote_reset: Counter,
        /// Requests lost with their connection, or for want of one.
        request_failure_eject: Counter,
        /// Requests, or tries, that took too long; connect timeouts too.
        request_timeout: Counter,
        /// Requests that a circuit breaker refused.
        request_pending_overflow: Counter,
        /// Nanoseconds from the request being ready to the reply's arrival.
        request_duration_time: Histogram,
        /// Sum of `request_duration_time`, nanoseconds.
        request_duration_time_total: Counter,
        /// Replies with a status below 500.
        response_success: Counter,
        /// Replies with a status of 500 or more; a try that is tried again counts too.
        response_failed: Counter,
        /// RPC replies that nobody waited for any more: late, duplicate or unknown ones. Ours; Go MOSN
        /// drops them in silence.
        response_dropped: Counter,
        /// Cluster only: tries after the first.
        request_retry: Counter,
        /// Cluster only: retries that the budget refused.
        request_retry_overflow: Counter,
        /// Cluster only: retries made while an earlier try was still out. Ours.
        request_hedge: Counter,
        /// Cluster only: choices among all hosts because no subset matched.
        lb_subsets_fallback: Counter,
        /// Cluster only: subsets.
        lb_subsets_created: Counter as Gauge,
    }
}

impl UpstreamMetrics {
    /// Whether MOSN keeps this key only for clusters, not for hosts.
    pub(crate) fn is_cluster_only(key: &str) -> bool {
        matches!(
            key,
            "connection_retry"
                | "connection_bytes_read_total"
                | "connection_bytes_write"
                | "request_retry"
                | "request_retry_overflow"
                | "request_hedge"
                | "lb_subsets_fallback"
                | "lb_subsets_created"
        )
    }
}

metric_set! {
    /// What active health checks found: one set for each `service_name`. Only the control thread
    /// writes it.
    HealthCheckMetrics {
        /// Checks begun.
        attempt: Counter,
        /// Good answers.
        success: Counter,
        /// Bad answers, and none in time.
        failure: Counter,
        /// Bad answers, failed connects among them.
        active_failure: Counter,
        /// Checks without an answer in time.
        network_failure: Counter,
        /// Never counted, as in MOSN.
        passive_failure: Counter,
        /// Never counted, as in MOSN.
        verify_cluster: Counter,
        /// Healthy hosts; the spelling is MOSN's.
        healty: Counter as Gauge,
    }
}

metric_set! {
    /// What outlier detection did: one set for each cluster that has it. Only the control thread
    /// writes it. Ours; Go MOSN has no outlier detection.
    OutlierMetrics {
        /// Hosts left out so far.
        ejections_total: Counter,
        /// Hosts that are left out.
        ejections_active: Counter as Gauge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(set: &DownstreamMetrics) -> Vec<(&'static str, i64)> {
        sum(std::iter::once(set))
            .into_iter()
            .filter_map(|(key, value)| match value {
                Value::Counter(count) if count != 0 => Some((key, count)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn each_status_has_its_counter_and_the_rest_share_one() {
        for (status, key) in STATUSES.into_iter().zip(STATUS_KEYS) {
            assert_eq!(key, format!("request_{status}_total"));
            let set = DownstreamMetrics::default();
            set.status(status);
            assert_eq!(counters(&set), [(key, 1)]);
        }
        let set = DownstreamMetrics::default();
        for status in [0, 100, 201, 429, 511, 512, 599, u16::MAX] {
            set.status(status);
        }
        assert_eq!(counters(&set), [("request_other_code", 8)]);
    }

    #[test]
    fn only_the_clients_own_faults_count_as_invalid_requests() {
        let set = DownstreamMetrics::default();
        Failure::ALL.into_iter().for_each(|failure| set.request_invalid(failure));
        let expected: Vec<_> = INVALID_KEYS.into_iter().map(|key| (key, 1)).collect();
        assert_eq!(counters(&set), expected);
        for (failure, key) in [
            (Failure::BadRequest, INVALID_KEYS[0]),
            (Failure::HeaderTooLarge, INVALID_KEYS[1]),
            (Failure::UriTooLong, INVALID_KEYS[2]),
            (Failure::HeaderTimeout, INVALID_KEYS[3]),
            (Failure::PayloadTooLarge, INVALID_KEYS[4]),
        ] {
            assert!(key.ends_with(failure.row().word), "{key}");
        }
    }

    #[test]
    fn a_shard_is_small() {
        assert!(size_of::<DownstreamMetrics>() <= 320, "{}", size_of::<DownstreamMetrics>());
        assert!(size_of::<UpstreamMetrics>() <= 240, "{}", size_of::<UpstreamMetrics>());
    }
}
