use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::header::{lists, mutations};
use super::route::route;
use super::{Names, unreachable};
use crate::document::At;
use crate::model::{FilterConfigs, Name, RouterSpec, VirtualHostSpec};
use crate::mosn::{
    DslConfig, FaultConfig, GzipConfig, MirrorConfig, PayloadLimitConfig, RouterConfiguration, StreamConfig,
    TranscoderConfig, TypedConfig as _, VirtualHost,
};
use crate::problem::Severity;

/// A route table with the given virtual hosts.
pub(crate) fn table(
    at: &At<'_>,
    config: &RouterConfiguration,
    virtual_hosts: Vec<VirtualHostSpec>,
    names: &mut Names,
) -> RouterSpec {
    RouterSpec {
        name: names.share(&config.router_config_name),
        virtual_hosts,
        headers: mutations(at, &lists!(config), names),
    }
}

/// The domains that a table's virtual hosts took so far, lower-case, and who took them.
#[derive(Default)]
pub(crate) struct Domains {
    taken: HashMap<Name, Name, ahash::RandomState>,
}

pub(crate) fn virtual_host(
    at: &At<'_>,
    host: &VirtualHost,
    domains: &mut Domains,
    names: &mut Names,
) -> VirtualHostSpec {
    let name = names.share(&host.name);
    let mut accepted = Vec::with_capacity(host.domains.len());
    if host.domains.is_empty() {
        at.key("domains").warning("no domain: no request ever gets here");
    }
    for (index, domain) in host.domains.iter().enumerate() {
        let at_domains = at.key("domains");
        let at = at_domains.index(index);
        let domain = match domain.to_lowercase() {
            any if any == "*:*" => "*".to_owned(),
            domain => domain,
        };
        if let Err(reason) = check_domain(&domain) {
            at.error(reason);
            continue;
        }
        let domain = names.share(&domain);
        match domains.taken.get(&domain) {
            Some(owner) => {
                at.error(format!("the domain {:?} belongs to virtual host {owner:?} already", &*domain));
            }
            None => {
                domains.taken.insert(domain.clone(), name.clone());
                accepted.push(domain);
            }
        }
    }
    let at_routers = at.key("routers");
    let routes = host.routers.iter().enumerate();
    let routes: Vec<_> =
        routes.map(|(index, router)| route(&at_routers.index(index), router, names)).collect();
    unreachable::check(&at_routers, &routes, names);
    VirtualHostSpec {
        name,
        domains: accepted,
        routes,
        headers: mutations(at, &lists!(host), names),
        filter_config: filter_config(&at.key("per_filter_config"), host.per_filter_config.as_ref(), names),
    }
}

/// A wildcard may stand at the start or at the end of the name, and for the port.
fn check_domain(domain: &str) -> Result<(), String> {
    if domain.is_empty() {
        return Err("a domain must not be empty; write \"*\" for any".to_owned());
    }
    if domain.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b == b'/') {
        return Err(format!("{domain:?} is not a domain"));
    }
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !domain.ends_with(']') => (host, port),
        _ => (domain, "*"),
    };
    if port != "*" && (port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("{port:?} is not a port: expected a number, or \"*\" for any"));
    }
    match host.strip_prefix('[') {
        Some(inner) if inner.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()) => {
            return Ok(());
        }
        None if !host.is_empty() && !host.contains([':', '[', ']']) => {}
        _ => {
            return Err(format!(
                "{domain:?} is not a domain: expected a name such as \"a.com\" or an address, IPv6 in brackets"
            ));
        }
    }
    let inner = host.strip_prefix('*').unwrap_or(host);
    let inner = if inner.len() == host.len() { inner.strip_suffix('*').unwrap_or(inner) } else { inner };
    if inner.contains('*') {
        return Err(format!("{domain:?} has a wildcard that is neither at its start nor at its end"));
    }
    Ok(())
}

/// Per-route settings of stream filters as JSON text.
pub(super) fn filter_config(
    at: &At<'_>,
    settings: Option<&Map<String, Value>>,
    names: &Names,
) -> FilterConfigs {
    let settings = settings.filter(|settings| !settings.is_empty())?;
    for filter in settings.keys() {
        check_settings(&at.key(filter), filter, names);
    }
    let texts: BTreeMap<String, Arc<str>> =
        settings.iter().map(|(filter, value)| (filter.clone(), Arc::from(value.to_string()))).collect();
    Some(Box::new(texts))
}

fn check_settings(at: &At<'_>, filter: &str, names: &Names) {
    match filter {
        "fault" => at.check_shape::<FaultConfig>(),
        "gzip" => at.check_shape::<GzipConfig>(),
        "payload_limit" => at.check_shape::<PayloadLimitConfig>(),
        "dsl" => at.check_shape::<DslConfig>(),
        "transcoder" => at.check_shape::<TranscoderConfig>(),
        "mirror" => at.check_shape::<MirrorConfig>(),
        known if StreamConfig::TYPES.contains(&known) => {}
        unknown => {
            let message = format!("has no effect: there is no stream filter of type {unknown:?}");
            at.unknown(Severity::Warning, message, unknown, StreamConfig::TYPES.iter().copied());
            return;
        }
    }
    if names.users.as_ref().is_some_and(|users| !users.stream_filters.contains(filter)) {
        let message =
            format!("has no effect: no listener that uses this table has the stream filter {filter:?}");
        at.warning(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_wildcards_at_one_end_only() {
        for domain in [
            "*",
            "a.com",
            "a.com:80",
            "a.com:*",
            "*.a.com",
            "*-x.a.com",
            "*.a.com:8080",
            "a.*",
            "*:8080",
            "[::1]",
            "[::1]:80",
        ] {
            assert_eq!(check_domain(domain), Ok(()), "{domain}");
        }
        for domain in [
            "",
            "a*b",
            "*a*",
            "a.com:http",
            "a b",
            "a/b",
            ":80",
            "a:b:c",
            "a:1:2",
            "::1",
            "[::1",
            "[a.com]:80",
            "a:+8",
            "a:",
        ] {
            assert!(check_domain(domain).is_err(), "{domain}");
        }
    }
}
