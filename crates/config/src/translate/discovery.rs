//! How a cluster's hosts are found.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Names;
use super::cluster::host;
use super::route::or_default;
use crate::document::At;
use crate::hosts_file::hosts_file;
use crate::model::{Discovery, DnsFamily, DnsResolverSpec, HostSpec, HostsFileSpec, Name, StrictDnsSpec};
use crate::mosn::{Cluster, Host};
use crate::problem::Severity;

/// How hosts are found, and those that there are from the start.
pub(super) fn discovery(at: &At<'_>, cluster: &Cluster, names: &mut Names) -> (Discovery, Vec<HostSpec>) {
    let strict_dns = cluster.kind == "STRICT_DNS";
    let at_hosts = at.key("hosts");
    let given = cluster.hosts.iter().enumerate();
    let hosts: Vec<_> = given
        .map(|(index, given)| {
            let at = at_hosts.index(index);
            match strict_dns.then(|| with_port(&given.address)).flatten() {
                Some(address) => host(&at, &Host { address, ..given.clone() }, names),
                None => host(&at, given, names),
            }
        })
        .collect();
    if !cluster.hosts_file.is_empty() {
        let (at_cluster, at) = (at, at.key("hosts_file"));
        if strict_dns || !hosts.is_empty() {
            at.error("there can only be one of hosts_file and hosts, and no STRICT_DNS");
        }
        let path = PathBuf::from(&cluster.hosts_file);
        let hosts = match hosts_file(&path) {
            Ok(hosts) => hosts,
            Err(problems) => {
                match problems.0.as_slice() {
                    // There is no place in it to name.
                    [only] if only.line == 0 => at.error(format!("the file {path:?} {}", only.message)),
                    _ => at.add_all(problems),
                }
                Vec::new()
            }
        };
        let at_refresh = at_cluster.key("hosts_file_refresh");
        let refresh = or_default(&at_refresh, cluster.hosts_file_refresh, Duration::from_secs(1));
        return (Discovery::File(Box::new(HostsFileSpec { path, refresh })), hosts);
    }
    if !strict_dns {
        return (Discovery::Static, hosts);
    }
    let refresh = or_default(&at.key("dns_refresh_rate"), cluster.dns_refresh_rate, Duration::from_secs(5));
    let spec = StrictDnsSpec {
        names: hosts.clone(),
        refresh,
        respect_ttl: cluster.respect_dns_ttl,
        family: family(&at.key("dns_lookup_family"), &cluster.dns_lookup_family),
        resolver: resolver(at, cluster),
    };
    (Discovery::StrictDns(Box::new(spec)), hosts)
}

/// A name or address without a port has 80, as in MOSN; `None` = it has one, or is none.
fn with_port(address: &str) -> Option<String> {
    match address.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 80).to_string()),
        Err(_) if !address.is_empty() && !address.contains(':') => Some(format!("{address}:80")),
        Err(_) => None,
    }
}

fn family(at: &At<'_>, name: &str) -> DnsFamily {
    const FAMILIES: [(&str, DnsFamily); 4] = [
        ("V4_ONLY", DnsFamily::V4),
        ("V6_ONLY", DnsFamily::V6),
        ("AUTO", DnsFamily::Auto),
        ("ALL", DnsFamily::All),
    ];
    if let Some((_, family)) = FAMILIES.iter().find(|(known, _)| *known == name) {
        return *family;
    }
    if !name.is_empty() {
        let message =
            format!("unknown family {name:?} counts as V4_ONLY; there are V4_ONLY, V6_ONLY, AUTO and ALL");
        at.unknown(Severity::Warning, message, name, FAMILIES.map(|(known, _)| known));
    }
    DnsFamily::V4
}

fn resolver(at: &At<'_>, cluster: &Cluster) -> DnsResolverSpec {
    let port = |at: &At<'_>, text: &str| match text {
        "" => 53,
        text => text.parse().ok().filter(|&port| port != 0).unwrap_or_else(|| {
            at.error(format!("expected a port from 1 to 65535 as text, found {text:?}"));
            53
        }),
    };
    let given = &cluster.dns_resolvers;
    if given.servers.is_empty() {
        let file = match cluster.dns_resolver_file.as_str() {
            "" => "/etc/resolv.conf",
            file => file,
        };
        if let Err(error) = std::fs::read(Path::new(file)) {
            at.key("dns_resolver_file").error(format!("{file:?} cannot be read: {error}"));
        }
        let port = port(&at.key("dns_resolver_port"), &cluster.dns_resolver_port);
        return DnsResolverSpec::File { path: PathBuf::from(file), port };
    }
    let at = at.key("dns_resolvers");
    let port = port(&at.key("port"), &given.port);
    let at_servers = at.key("servers");
    let servers = given.servers.iter().enumerate().filter_map(|(index, server)| {
        let address = server.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)).or_else(|_| server.parse());
        if address.is_err() {
            at_servers
                .index(index)
                .error(format!("expected an IP address, perhaps with a port, found {server:?}"));
        }
        address.ok()
    });
    let servers = servers.collect();
    let within = |key: &str, value: i64, most: i64| {
        if !(0..=most).contains(&value) {
            at.key(key).error(format!("expected 0 to {most}, found {value}"));
        }
        value.clamp(0, most) as u32
    };
    DnsResolverSpec::Servers {
        servers,
        search: given.search.iter().map(|suffix| Name::from(suffix.as_str())).collect(),
        ndots: within("ndots", given.ndots, 15),
        timeout: match within("timeout", given.timeout, 3600) {
            0 => Duration::from_secs(2),
            seconds => Duration::from_secs(seconds.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests::translated;
    use super::*;

    #[test]
    fn strict_dns_has_names_with_ports_and_a_resolver() {
        let spec = translated(
            r#"{"name":"a","type":"STRICT_DNS","respect_dns_ttl":true,"dns_lookup_family":"ALL",
            "dns_resolvers":{"servers":["10.0.0.1","10.0.0.2:54","::1","[::1]:55"],"port":"5353","search":["x.y"],"ndots":2},
            "hosts":[{"address":"a.b"},{"address":"c:81"},{"address":"::1"},{"address":"10.1.1.1"}]}"#,
        );
        let Discovery::StrictDns(dns) = spec.discovery else { panic!("{:?}", spec.discovery) };
        let hosts: Vec<_> = dns.names.iter().map(|host| &*host.address).collect();
        assert_eq!(hosts, ["a.b:80", "c:81", "[::1]:80", "10.1.1.1:80"]);
        assert_eq!(spec.localities[0].hosts, dns.names);
        assert_eq!(
            (dns.refresh, dns.respect_ttl, dns.family),
            (Duration::from_secs(5), true, DnsFamily::All)
        );
        let servers = ["10.0.0.1:5353", "10.0.0.2:54", "[::1]:5353", "[::1]:55"];
        assert_eq!(
            dns.resolver,
            DnsResolverSpec::Servers {
                servers: servers.map(|server| server.parse().unwrap()).to_vec(),
                search: vec!["x.y".into()],
                ndots: 2,
                timeout: Duration::from_secs(2),
            }
        );
    }
}
