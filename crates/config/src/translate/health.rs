use std::time::Duration;

use super::Names;
use super::header::check_token;
use super::route::{or_default, positive};
use crate::document::At;
use crate::features::Feature;
use crate::model::{GrpcProbeSpec, HealthCheckSpec, HttpProbeSpec, Name, OutlierSpec, ProbeSpec};
use crate::mosn::{GrpcCheckConfig, HealthCheck, HttpCheckConfig, OutlierDetection};
use crate::problem::Severity;
use crate::value::GoDuration;

/// RPC protocols that are asked for a heartbeat.
const HEARTBEATS: [&str; 3] = ["bolt", "boltv2", "dubbo"];

/// Active health checks, which a service name switches on.
pub(super) fn check(at: &At<'_>, check: &HealthCheck, names: &mut Names) -> Option<Box<HealthCheckSpec>> {
    if check.service_name.is_empty() {
        if !check.protocol.is_empty() || check.check_config.is_some() {
            at.warning("has no effect: a service_name switches checks on");
        }
        return None;
    }
    let time =
        |key: &str, given: GoDuration, default: Duration| positive(&at.key(key), given).unwrap_or(default);
    if !check.common_callbacks.is_empty() {
        at.key("common_callbacks").warning("has no effect: there are no callbacks of these names");
    }
    // Without settings for it, an HTTP check falls back to connecting.
    let http = check.check_config.as_ref().and_then(|config| config.http_check_config.as_ref());
    let at_config = at.key("check_config");
    protocol(at, check);
    let (probe, timeout) = match (check.protocol.as_str(), http) {
        ("Http1", Some(http)) => http_probe(&at_config.key("http_check_config"), http),
        ("Grpc", _) => {
            let grpc = check.check_config.as_ref().and_then(|config| config.grpc_check_config.as_ref());
            (grpc_probe(&at_config.key("grpc_check_config"), grpc), None)
        }
        (name, _) => {
            let heartbeat = HEARTBEATS.into_iter().find(|known| *known == name);
            (heartbeat.map_or(ProbeSpec::Tcp, ProbeSpec::Heartbeat), None)
        }
    };
    let timeout = match timeout {
        // The shorter of the two ends a check.
        Some(http) => http.min(time("timeout", check.timeout, Duration::from_secs(1))),
        None => time("timeout", check.timeout, Duration::from_secs(1)),
    };
    Some(Box::new(HealthCheckSpec {
        probe,
        timeout,
        interval: time("interval", check.interval, Duration::from_secs(15)),
        interval_jitter: time("interval_jitter", check.interval_jitter, Duration::from_millis(5)),
        initial_delay: time("initial_delay_seconds", check.initial_delay_seconds, Duration::from_secs(1)),
        healthy_threshold: check.healthy_threshold.max(1),
        unhealthy_threshold: check.unhealthy_threshold.max(1),
        service_name: names.share(&check.service_name),
        event_log: Name::from(check.event_log_path.as_str()),
        mark: 0,
        bind_address: None,
    }))
}

/// Says where less is asked than the settings seem to say.
fn protocol(at: &At<'_>, check: &HealthCheck) {
    let given = check.check_config.clone().unwrap_or_default();
    let at_config = at.key("check_config");
    match check.protocol.as_str() {
        "Http1" if given.http_check_config.is_none() => {
            at_config.key("http_check_config").warning("is missing: hosts are only connected to");
        }
        "" | "Http1" | "Grpc" => {}
        name if HEARTBEATS.contains(&name) => {}
        name => {
            let known = HEARTBEATS.into_iter().chain(["Http1", "Grpc"]);
            let message = format!("no check is known for {name:?}: hosts are only connected to");
            at.key("protocol").unknown(Severity::Warning, message, name, known);
        }
    }
    for (key, given, of) in [
        ("http_check_config", given.http_check_config.is_some(), "Http1"),
        ("grpc_check_config", given.grpc_check_config.is_some(), "Grpc"),
    ] {
        if given && check.protocol != of {
            at_config.key(key).warning(format!("has no effect unless the protocol is {of:?}"));
        }
    }
}

fn grpc_probe(at: &At<'_>, given: Option<&GrpcCheckConfig>) -> ProbeSpec {
    let GrpcCheckConfig { port, service, authority } = given.cloned().unwrap_or_default();
    for (key, text) in [("service", &service), ("authority", &authority)] {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            at.key(key).error(format!("expected visible ASCII characters, found {text:?}"));
        }
    }
    ProbeSpec::Grpc(Box::new(GrpcProbeSpec { port, service, authority }))
}

/// Outlier detection; what is not given is as in xDS.
pub(super) fn outlier(at: &At<'_>, given: &OutlierDetection) -> OutlierSpec {
    let defaults = OutlierSpec::default();
    let time =
        |key: &str, given: Option<GoDuration>, default: Duration| or_default(&at.key(key), given, default);
    let percent = |key: &str, given: Option<u8>, default: u8| match given {
        Some(given) if given > 100 => {
            at.key(key).error(format!("expected 0 to 100, found {given}"));
            default
        }
        given => given.unwrap_or(default),
    };
    OutlierSpec {
        consecutive_5xx: given.consecutive_5xx.unwrap_or(defaults.consecutive_5xx),
        consecutive_gateway_failure: given
            .consecutive_gateway_failure
            .unwrap_or(defaults.consecutive_gateway_failure),
        consecutive_local_origin_failure: given
            .consecutive_local_origin_failure
            .unwrap_or(defaults.consecutive_local_origin_failure),
        interval: time("interval", given.interval, defaults.interval),
        base_ejection_time: time("base_ejection_time", given.base_ejection_time, defaults.base_ejection_time),
        max_ejection_time: time("max_ejection_time", given.max_ejection_time, defaults.max_ejection_time),
        max_ejection_percent: percent(
            "max_ejection_percent",
            given.max_ejection_percent,
            defaults.max_ejection_percent,
        ),
        success_rate_stdev_factor: given
            .success_rate_stdev_factor
            .unwrap_or(defaults.success_rate_stdev_factor),
        success_rate_minimum_hosts: given
            .success_rate_minimum_hosts
            .unwrap_or(defaults.success_rate_minimum_hosts),
        success_rate_request_volume: given
            .success_rate_request_volume
            .unwrap_or(defaults.success_rate_request_volume),
        failure_percentage_threshold: percent(
            "failure_percentage_threshold",
            given.failure_percentage_threshold,
            defaults.failure_percentage_threshold,
        ),
        failure_percentage_minimum_hosts: given
            .failure_percentage_minimum_hosts
            .unwrap_or(defaults.failure_percentage_minimum_hosts),
        failure_percentage_request_volume: given
            .failure_percentage_request_volume
            .unwrap_or(defaults.failure_percentage_request_volume),
    }
}

fn http_probe(at: &At<'_>, given: &HttpCheckConfig) -> (ProbeSpec, Option<Duration>) {
    let port = match given.port {
        0 => 0,
        port => u16::try_from(port).ok().filter(|&port| port < u16::MAX).unwrap_or_else(|| {
            at.key("port").error(format!("expected a port from 1 to 65534, found {port}"));
            0
        }),
    };
    let method = if given.method.is_empty() { "GET".to_owned() } else { given.method.clone() };
    check_token(&at.key("method"), &method, "a method");
    let tls = match given.scheme.as_str() {
        "" | "http" => false,
        "https" => {
            at.key("scheme").needs(Feature::Tls);
            true
        }
        other => {
            at.key("scheme").error(format!("expected \"http\" or \"https\", found {other:?}"));
            false
        }
    };
    let path = match given.path.as_str() {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    for (key, text) in [("path", &path), ("domain", &given.domain)] {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            at.key(key).error(format!("expected visible ASCII characters, found {text:?}"));
        }
    }
    let mut codes = Vec::with_capacity(given.codes.len());
    for (index, range) in given.codes.iter().enumerate() {
        match (u16::try_from(range.start), u16::try_from(range.end)) {
            (Ok(start), Ok(end)) if start <= end => codes.push((start, end)),
            _ => {
                let at = at.key("codes");
                at.index(index)
                    .error(format!("expected a range of statuses, found {} to {}", range.start, range.end));
            }
        }
    }
    let probe = HttpProbeSpec { port, tls, method, path, host: given.domain.clone(), codes };
    (ProbeSpec::Http(Box::new(probe)), positive(&at.key("timeout"), given.timeout))
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests::translated;
    use super::*;

    #[test]
    fn a_service_name_switches_checks_on() {
        let off = translated(r#"{"name":"a","health_check":{"protocol":"Http1","interval":"1s"}}"#);
        assert_eq!(off.health.check, None);
        let on = translated(r#"{"name":"a","health_check":{"service_name":"s","protocol":"Http1"}}"#);
        let check = on.health.check.unwrap();
        assert_eq!(check.probe, ProbeSpec::Tcp);
        assert_eq!(check.timeout, Duration::from_secs(1));
        assert_eq!(check.interval, Duration::from_secs(15));
        assert_eq!(check.interval_jitter, Duration::from_millis(5));
        assert_eq!(check.initial_delay, Duration::from_secs(1));
        assert_eq!((check.healthy_threshold, check.unhealthy_threshold), (1, 1));
    }

    #[test]
    fn protocols_of_our_own_are_asked_as_they_ask() {
        let probe = |rest: &str| {
            let json = format!(r#"{{"name":"a","health_check":{{"service_name":"s",{rest}}}}}"#);
            translated(&json).health.check.unwrap().probe
        };
        assert_eq!(probe(r#""protocol":"bolt""#), ProbeSpec::Heartbeat("bolt"));
        assert_eq!(probe(r#""protocol":"dubbo""#), ProbeSpec::Heartbeat("dubbo"));
        assert_eq!(probe(r#""protocol":"Bolt""#), ProbeSpec::Tcp);
        assert_eq!(probe(r#""protocol":"Grpc""#), ProbeSpec::Grpc(Box::default()));
        let grpc = GrpcProbeSpec { port: 5, service: "a.B".to_owned(), authority: "x:1".to_owned() };
        assert_eq!(
            probe(
                r#""protocol":"Grpc","check_config":{"grpc_check_config":{"port":5,"service":"a.B","authority":"x:1"}}"#
            ),
            ProbeSpec::Grpc(Box::new(grpc))
        );
    }

    #[test]
    fn outlier_detection_is_xdss_where_nothing_else_is_said() {
        assert_eq!(translated(r#"{"name":"a"}"#).health.outlier, None);
        let given = translated(r#"{"name":"a","outlier_detection":{"consecutive_5xx":0,"interval":"2s"}}"#);
        let expected =
            OutlierSpec { consecutive_5xx: 0, interval: Duration::from_secs(2), ..OutlierSpec::default() };
        assert_eq!(given.health.outlier.as_deref(), Some(&expected));
    }

    #[test]
    fn an_http_check_has_settings_of_its_own() {
        let spec = translated(
            r#"{"name":"a","health_check":{"service_name":"s","protocol":"Http1","timeout":"5s","unhealthy_threshold":3,
            "check_config":{"http_check_config":{"port":81,"timeout":"2s","path":"up?x=1","domain":"a.com",
            "codes":[{"Start":200,"End":299}]}}}}"#,
        );
        let check = spec.health.check.unwrap();
        assert_eq!(check.timeout, Duration::from_secs(2));
        assert_eq!(check.unhealthy_threshold, 3);
        let ProbeSpec::Http(probe) = check.probe else { panic!("{:?}", check.probe) };
        assert_eq!(
            *probe,
            HttpProbeSpec {
                port: 81,
                tls: false,
                method: "GET".to_owned(),
                path: "/up?x=1".to_owned(),
                host: "a.com".to_owned(),
                codes: vec![(200, 299)],
            }
        );
    }
}
