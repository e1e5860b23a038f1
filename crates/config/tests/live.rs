//! Changes to a configuration that is in effect.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mosn_config::model::{ActionSpec, Config};
use mosn_config::{EffectiveConfig, Format, HostEdit, Loaded, Options, Problems, RouteEdit, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

const BASE: &str = "/opt/mosn/conf/conf.json";

fn load(text: &str) -> Loaded {
    parse(text, Format::Json, Path::new(BASE), Options::default()).unwrap()
}

fn small() -> EffectiveConfig {
    let config = json!({
        "future_key": {"kept": [1, "\u{2}"]},
        "servers": [{
            "Routers": [{"router_config_name": "r", "x-table": true, "virtual_hosts": [
                {"name": "a", "domains": ["a.com"], "x-host": 1, "routers": [
                    {"match": {"prefix": "/1"}, "route": {"cluster_name": "c"}, "x-route": 2}
                ]},
                {"name": "b", "domains": ["*"]}
            ]}],
        }],
        "cluster_manager": {"cluster_pool_enable": true, "clusters": [
            {"name": "c", "x-cluster": 3, "Hosts": [{"address": "1.1.1.1:1", "x-host": 4}, {"address": "1.1.1.1:2"}]}
        ]}
    });
    load(&config.to_string()).effective
}

fn origin() -> &'static Path {
    Path::new("update")
}

fn direct(body: &str) -> String {
    json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}).to_string()
}

fn shown(config: &EffectiveConfig, query: &str) -> Value {
    serde_json::from_str(&config.dump(query).unwrap()).unwrap()
}

fn first_error<T: std::fmt::Debug>(result: Result<T, Problems>) -> String {
    result.unwrap_err().to_string().lines().next().unwrap().to_owned()
}

#[test]
fn a_clusters_hosts_change_and_the_rest_stays_as_it_was_written() {
    let mut config = small();
    let append = r#"[{"address":"1.1.1.1:2","weight":7},{"address":"1.1.1.1:3"}]"#;
    let new = config.edit_hosts(origin(), "c", HostEdit::Append(append)).unwrap().unwrap();
    assert!(new.spec.own_pools, "what holds for all clusters holds for it");
    config.put_cluster(&new);
    let addresses = |config: &EffectiveConfig| {
        let hosts = shown(config, "cluster=c")["hosts"].clone();
        let hosts = hosts.as_array().cloned().unwrap_or_default();
        hosts.iter().map(|host| host["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&config), ["1.1.1.1:2", "1.1.1.1:3", "1.1.1.1:1"]);
    assert_eq!(shown(&config, "cluster=c")["hosts"][0]["weight"], 7);

    let remove = HostEdit::Remove(&["1.1.1.1:3", "9.9.9.9:9"]);
    config.put_cluster(&config.edit_hosts(origin(), "c", remove).unwrap().unwrap());
    assert_eq!(addresses(&config), ["1.1.1.1:2", "1.1.1.1:1"]);
    let file: Value = serde_json::from_str(&config.to_file(Format::Json)).unwrap();
    let cluster = &file["cluster_manager"]["clusters"][0];
    assert_eq!((&cluster["x-cluster"], &cluster["hosts"][1]["x-host"]), (&json!(3), &json!(4)));

    config.put_cluster(&config.edit_hosts(origin(), "c", HostEdit::Replace("[]")).unwrap().unwrap());
    assert!(addresses(&config).is_empty());
    assert!(config.edit_hosts(origin(), "d", HostEdit::Replace("[]")).is_none());
    let bad = HostEdit::Append(r#"[{"address":"1.1.1.1:1"},{"address":"nowhere"}]"#);
    assert_eq!(
        first_error(config.edit_hosts(origin(), "c", bad).unwrap()),
        r#"error: update:1:37: [1].address: expected host:port or unix:/path, found "nowhere""#
    );
}

#[test]
fn settings_of_a_cluster_change_without_its_hosts() {
    let mut config = small();
    let new = r#"{"name":"c","lb_type":"LB_RANDOM","hosts":[{"address":"9.9.9.9:9"}]}"#;
    config.put_cluster(&config.new_cluster_settings(origin(), new).unwrap());
    let cluster = shown(&config, "cluster=c");
    assert_eq!(
        (cluster["lb_type"].as_str(), cluster["hosts"].as_array().unwrap().len()),
        (Some("LB_RANDOM"), 2)
    );
}

#[test]
fn routes_change_one_by_one_and_the_rest_stays_as_it_was_written() {
    let mut config = small();
    let mut edit = |edit: RouteEdit<'_>| {
        let new = config.edit_routes(origin(), "r", 0, edit)?;
        config.put_virtual_host("r", 0, &new);
        let bodies = new.spec.routes.iter().map(|route| match &route.action {
            ActionSpec::DirectResponse(direct) => direct.body.to_string(),
            _ => "forward".to_owned(),
        });
        Ok::<_, Problems>(bodies.collect::<Vec<_>>())
    };
    assert_eq!(edit(RouteEdit::Append(&direct("x"))).unwrap(), ["forward", "x"]);
    assert_eq!(edit(RouteEdit::Replace(1, &direct("y"))).unwrap(), ["forward", "y"]);
    assert_eq!(edit(RouteEdit::Append(&direct("z"))).unwrap(), ["forward", "y", "z"]);
    assert_eq!(edit(RouteEdit::Remove(1)).unwrap(), ["forward", "z"]);
    for wrong in [RouteEdit::Remove(2), RouteEdit::Replace(2, "{}")] {
        assert_eq!(
            first_error(edit(wrong)),
            "error: update: there is no route 2: the virtual host has 2, from 0 on"
        );
    }
    assert_eq!(
        first_error(edit(RouteEdit::Append(r#"{"match":{"regex":"("}}"#))),
        r#"error: update:1:19: match.regex: not a regular expression: unclosed group"#
    );
    let file: Value = serde_json::from_str(&config.to_file(Format::Json)).unwrap();
    assert_eq!(file["future_key"], json!({"kept": [1, "\u{2}"]}));
    let table = &file["servers"][0]["routers"][0];
    assert_eq!(table["x-table"], true);
    assert_eq!(table["virtual_hosts"][0]["x-host"], 1);
    assert_eq!(table["virtual_hosts"][0]["routers"][0]["x-route"], 2);
    config.put_virtual_host("r", 0, &config.edit_routes(origin(), "r", 0, RouteEdit::Clear).unwrap());
    assert_eq!(shown(&config, "router=r")["virtual_hosts"][0]["routers"], Value::Null);
}

#[test]
fn what_is_wrong_with_an_object_is_said_with_its_place() {
    let config = small();
    for (json, error) in [
        ("{", "error: update:1:2: "),
        (r#"{"hosts":[]}"#, "error: update:1:1: name: a cluster needs a name"),
        (r#"{"name":"a","connect_timeout":5}"#, "error: update:1:31: connect_timeout: expected a duration"),
    ] {
        let found = first_error(config.new_cluster(origin(), json));
        assert!(found.starts_with(error), "{found}");
    }
    for (json, error) in [
        (r#"{"virtual_hosts":[]}"#, "error: update:1:1: router_config_name: a route table needs a name"),
        (
            r#"{"router_config_name":"r","router_configs":"/etc"}"#,
            "error: update:1:44: router_configs: a change names no folder; give virtual_hosts",
        ),
        (
            r#"{"router_config_name":"r","virtual_hosts":[{"name":"a","domains":["a"]},{"domains":["A"]}]}"#,
            r#"error: update:1:85: virtual_hosts[1].domains[0]: the domain "a" belongs to virtual host "a" already"#,
        ),
    ] {
        assert_eq!(first_error(config.new_router(origin(), json)), error);
    }
    let unknown = config.new_virtual_host(origin(), r#"{"name":"v","domain":[]}"#).unwrap().warnings;
    assert!(unknown.iter().any(|warning| warning.suggestion.as_deref() == Some("domains")), "{unknown:?}");
}

#[test]
fn a_table_of_a_listener_is_written_once_it_has_changed() {
    let table = json!({"router_config_name": "old", "virtual_hosts": [{"name": "v", "domains": ["*"]}]});
    let text = json!({"servers": [{"listeners": [{"name": "l", "address": "127.0.0.1:2045", "filter_chains": [{
        "filters": [{"type": "proxy", "config": {"downstream_protocol": "Http1", "router_config_name": "old"}},
                    {"type": "connection_manager", "config": table}]}]}]}]});
    let mut config = load(&text.to_string()).effective;
    let routers = |config: &EffectiveConfig| -> Value {
        let file: Value = serde_json::from_str(&config.to_file(Format::Json)).unwrap();
        file["servers"][0]["routers"].clone()
    };
    assert_eq!(routers(&config), json!([]));
    assert!(config.is_of_listener("old") && !config.is_of_listener("new"));
    config.put_virtual_host(
        "old",
        0,
        &config.edit_routes(origin(), "old", 0, RouteEdit::Append(&direct("x"))).unwrap(),
    );
    assert_eq!(routers(&config)[0]["virtual_hosts"][0]["routers"][0]["direct_response"]["body"], "x");
    let again = load(&config.to_file(Format::Json));
    assert_eq!(again.model.routers[0].virtual_hosts[0].routes.len(), 1);
}

/// A change, in terms of small numbers.
#[derive(Clone, Debug)]
enum Change {
    Cluster { cluster: u8, hosts: Vec<u8>, settings_only: bool },
    RemoveCluster(u8),
    Hosts { cluster: u8, hosts: Vec<u8>, how: u8 },
    Router { router: u8, hosts: Vec<u8> },
    RemoveRouter(u8),
    VirtualHost { router: u8, index: u8, domain: u8 },
    RemoveVirtualHost { router: u8, index: u8 },
    Route { router: u8, index: u8, route: u8, how: u8 },
}

fn changes() -> impl Strategy<Value = Change> {
    // Numbers of domains, and ports of hosts, which 0 is not.
    let some = || proptest::collection::vec(1..7_u8, 0..5);
    prop_oneof![
        (0..4_u8, some(), any::<bool>()).prop_map(|(cluster, hosts, settings_only)| Change::Cluster {
            cluster,
            hosts,
            settings_only
        }),
        (0..4_u8).prop_map(Change::RemoveCluster),
        (0..4_u8, some(), 0..3_u8).prop_map(|(cluster, hosts, how)| Change::Hosts { cluster, hosts, how }),
        (0..3_u8, some()).prop_map(|(router, hosts)| Change::Router { router, hosts }),
        (0..3_u8).prop_map(Change::RemoveRouter),
        (0..3_u8, 0..4_u8, 0..9_u8).prop_map(|(router, index, domain)| Change::VirtualHost {
            router,
            index,
            domain
        }),
        (0..3_u8, 0..4_u8).prop_map(|(router, index)| Change::RemoveVirtualHost { router, index }),
        (0..3_u8, 0..4_u8, 0..3_u8, 0..4_u8).prop_map(|(router, index, route, how)| Change::Route {
            router,
            index,
            route,
            how
        }),
    ]
}

fn hosts(numbers: &[u8]) -> Value {
    let host = |n: &u8| json!({"address": format!("1.1.1.1:{n}"), "weight": n + 1});
    numbers.iter().map(host).collect()
}

fn virtual_host(domain: u8) -> Value {
    json!({"name": format!("v{domain}"), "domains": [format!("{domain}.com")],
        "routers": [{"match": {"path": "/<&>"}, "route": {"cluster_name": "c0", "timeout": "1s"}}]})
}

/// The model after the changes, kept as a careless control plane would keep it.
fn apply(config: &mut EffectiveConfig, model: &mut Config, change: &Change) {
    match change {
        Change::Cluster { cluster, hosts: numbers, settings_only } => {
            let json = json!({"name": format!("c{cluster}"), "mark": numbers.len(), "hosts": hosts(numbers)});
            let json = json.to_string();
            let new = if *settings_only {
                config.new_cluster_settings(origin(), &json)
            } else {
                config.new_cluster(origin(), &json)
            };
            let new = new.unwrap();
            config.put_cluster(&new);
            model.clusters.retain(|other| other.name != new.spec.name);
            model.clusters.push(new.spec);
        }
        Change::RemoveCluster(cluster) => {
            let name = format!("c{cluster}");
            config.remove_clusters(&[&name]);
            model.clusters.retain(|other| *other.name != *name);
        }
        Change::Hosts { cluster, hosts: numbers, how } => {
            let name = format!("c{cluster}");
            let json = hosts(numbers).to_string();
            let addresses: Vec<_> = numbers.iter().map(|n| format!("1.1.1.1:{n}")).collect();
            let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
            let edit = match how {
                0 => HostEdit::Replace(&json),
                1 => HostEdit::Append(&json),
                _ => HostEdit::Remove(&addresses),
            };
            let Some(new) = config.edit_hosts(origin(), &name, edit) else { return };
            let new = new.unwrap();
            config.put_cluster(&new);
            let slot = model.clusters.iter_mut().find(|other| *other.name == *name).unwrap();
            slot.localities = new.spec.localities;
        }
        Change::Router { router, hosts } => {
            let mut domains = hosts.clone();
            domains.sort_unstable();
            domains.dedup();
            let hosts: Vec<_> = domains.iter().map(|&domain| virtual_host(domain)).collect();
            let json = json!({"router_config_name": format!("r{router}"), "virtual_hosts": hosts,
                "request_headers_to_remove": ["X-A"]});
            let new = config.new_router(origin(), &json.to_string()).unwrap();
            config.put_router(&new);
            model.routers.retain(|other| other.name != new.spec.name);
            model.routers.push(new.spec);
        }
        Change::RemoveRouter(router) => {
            config.remove_router(&format!("r{router}"));
            model.routers.retain(|other| *other.name != *format!("r{router}"));
        }
        Change::VirtualHost { router, index, domain } => {
            let name = format!("r{router}");
            let Some(table) = model.routers.iter_mut().find(|other| *other.name == *name) else { return };
            let domain_text = format!("{domain}.com");
            let taken = |other: &mosn_config::model::VirtualHostSpec| *other.domains[0] == *domain_text;
            let index = usize::from(*index).min(table.virtual_hosts.len());
            if table.virtual_hosts.iter().position(taken).is_some_and(|owner| owner != index) {
                return;
            }
            let new = config.new_virtual_host(origin(), &virtual_host(*domain).to_string()).unwrap();
            config.put_virtual_host(&name, index, &new);
            match table.virtual_hosts.get_mut(index) {
                Some(slot) => *slot = new.spec,
                None => table.virtual_hosts.push(new.spec),
            }
        }
        Change::RemoveVirtualHost { router, index } => {
            let name = format!("r{router}");
            let Some(table) = model.routers.iter_mut().find(|other| *other.name == *name) else { return };
            config.remove_virtual_host(&name, usize::from(*index));
            if usize::from(*index) < table.virtual_hosts.len() {
                table.virtual_hosts.remove(usize::from(*index));
            }
        }
        Change::Route { router, index, route, how } => {
            let name = format!("r{router}");
            let json = direct(&route.to_string());
            let edit = match how {
                0 => RouteEdit::Append(&json),
                1 => RouteEdit::Replace(usize::from(*route), &json),
                2 => RouteEdit::Remove(usize::from(*route)),
                _ => RouteEdit::Clear,
            };
            let Ok(new) = config.edit_routes(origin(), &name, usize::from(*index), edit) else { return };
            config.put_virtual_host(&name, usize::from(*index), &new);
            let table = model.routers.iter_mut().find(|other| *other.name == *name).unwrap();
            table.virtual_hosts[usize::from(*index)] = new.spec;
        }
    }
}

fn sorted(mut model: Config) -> String {
    model.clusters.sort_by(|a, b| a.name.cmp(&b.name));
    model.routers.sort_by(|a, b| a.name.cmp(&b.name));
    format!("{model:#?}")
}

proptest! {
    #[test]
    fn after_any_changes_the_file_loads_as_what_runs(changes in proptest::collection::vec(changes(), 0..40)) {
        let text = json!({"servers": [{"routers": [{"router_config_name": "r0", "virtual_hosts": [virtual_host(0)]}]}],
            "cluster_manager": {"clusters": [{"name": "c0", "hosts": hosts(&[1, 2])}]}});
        let Loaded { mut model, effective: mut config, .. } = load(&text.to_string());
        for change in &changes {
            apply(&mut config, &mut model, change);
        }
        for format in [Format::Json, Format::Yaml] {
            let text = config.to_file(format);
            let again = parse(&text, format, Path::new(BASE), Options::default()).unwrap();
            prop_assert_eq!(sorted(again.model), sorted(model.clone()), "{}", text);
            prop_assert_eq!(shown(&again.effective, ""), shown(&config, ""));
        }
    }
}
