use std::time::Duration;

use super::Names;
use super::header::check_name;
use super::route::positive;
use crate::document::At;
use crate::features::Feature;
use crate::model::{HealthCheckSpec, HealthSpec, HttpProbeSpec, Name, ProbeSpec};
use crate::mosn::{HealthCheck, HttpCheckConfig};
use crate::value::GoDuration;

/// Active health checks, which a service name switches on.
pub(super) fn health(at: &At<'_>, check: &HealthCheck, names: &mut Names) -> HealthSpec {
    if check.service_name.is_empty() {
        return HealthSpec::default();
    }
    at.needs(Feature::HealthCheck);
    let time =
        |key: &str, given: GoDuration, default: Duration| positive(&at.key(key), given).unwrap_or(default);
    if !check.common_callbacks.is_empty() {
        at.key("common_callbacks").warning("has no effect: there are no callbacks of these names");
    }
    // Without settings for it, an HTTP check falls back to connecting.
    let http = check.check_config.as_ref().and_then(|config| config.http_check_config.as_ref());
    let (probe, timeout) = match http.filter(|_| check.protocol == "Http1") {
        Some(http) => {
            let at = at.key("check_config");
            http_probe(&at.key("http_check_config"), http)
        }
        None => (ProbeSpec::Tcp, None),
    };
    let timeout = match timeout {
        // The shorter of the two ends a check.
        Some(http) => http.min(time("timeout", check.timeout, Duration::from_secs(1))),
        None => time("timeout", check.timeout, Duration::from_secs(1)),
    };
    HealthSpec {
        check: Some(Box::new(HealthCheckSpec {
            probe,
            timeout,
            interval: time("interval", check.interval, Duration::from_secs(15)),
            interval_jitter: time("interval_jitter", check.interval_jitter, Duration::from_millis(5)),
            initial_delay: time("initial_delay_seconds", check.initial_delay_seconds, Duration::from_secs(1)),
            healthy_threshold: check.healthy_threshold.max(1),
            unhealthy_threshold: check.unhealthy_threshold.max(1),
            service_name: names.share(&check.service_name),
            event_log: Name::from(check.event_log_path.as_str()),
        })),
        outlier: None,
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
    check_name(&at.key("method"), &method);
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
