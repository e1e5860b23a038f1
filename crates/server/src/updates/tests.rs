#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mosn_config::{Format, Options, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn load(text: &str) -> Loaded {
    parse(text, Format::Json, Path::new("/opt/mosn/conf/conf.json"), Options::default()).unwrap()
}

fn direct(body: &str) -> Value {
    json!({"match": {"path": format!("/{body}")}, "direct_response": {"status": 200, "body": body}})
}

fn virtual_host(name: &str, domains: &[&str]) -> Value {
    json!({"name": name, "domains": domains, "routers": [direct(name)]})
}

fn table(name: &str, hosts: &[Value]) -> String {
    json!({"router_config_name": name, "virtual_hosts": hosts}).to_string()
}

fn cluster(name: &str, hosts: &[&str]) -> String {
    let hosts: Vec<_> = hosts.iter().map(|address| json!({"address": address})).collect();
    json!({"name": name, "hosts": hosts}).to_string()
}

fn updates() -> Updates {
    let hosts = [virtual_host("a", &["a.com"]), virtual_host("any", &["*"])];
    let text = json!({
        "servers": [{"routers": [{"router_config_name": "r", "virtual_hosts": hosts}]}],
        "cluster_manager": {"clusters": [{"name": "c", "hosts": [{"address": "1.1.1.1:1"}]}]}
    });
    Updates::without_process(load(&text.to_string())).unwrap()
}

/// What runs, in words: hosts of clusters; of each table what each domain leads to.
fn running(updates: &Updates) -> String {
    let mut lines = Vec::new();
    for cluster in updates.clusters().snapshot().iter() {
        lines.push(format!("{:?}", cluster.spec()));
    }
    lines.sort();
    for name in ["r", "r0", "r1", "r2"] {
        let Some(router) = updates.router(name) else { continue };
        for authority in (0..9).map(|n| format!("{n}.com")).chain(["a.com".into(), "x".into()]) {
            let host = router.virtual_host_of(&authority).and_then(|index| router.virtual_hosts().nth(index));
            let routes = host.map(|host| host.routes().iter().map(|route| &route.action).collect::<Vec<_>>());
            lines.push(format!("{name} {authority} {routes:?}"));
        }
    }
    lines.join("\n")
}

#[test]
fn what_is_refused_changes_nothing_and_names_the_object() {
    let updates = updates();
    let before = (updates.dump("").unwrap(), running(&updates), updates.clusters().version());
    let refused: Vec<(Result<(), UpdateError>, &str)> = vec![
        (updates.set_router("{}").map(drop), "router_config_name: a route table needs a name"),
        (updates.set_router(&table("r", &[])).map(drop), "router `r` would be left without a virtual host"),
        (
            updates
                .set_router(&table("r", &[json!({"domains": ["b"], "routers": [{"match": {"regex": "("}}]})]))
                .map(drop),
            "virtual_hosts[0].routers[0].match.regex: not a regular expression",
        ),
        (updates.remove_router("s"), "there is no router `s`"),
        (updates.set_virtual_host("s", "{}").map(drop), "there is no router `s`"),
        (updates.set_virtual_host("r", "{}").map(drop), "a virtual host needs a name"),
        (
            updates.set_virtual_host("r", &virtual_host("b", &["b.com", "A.com"]).to_string()).map(drop),
            "router `r`, virtual_hosts[2] `b`: ",
        ),
        (updates.remove_virtual_host("r", "b"), "router `r` has no virtual host `b`"),
        (updates.edit_routes("s", "", RouteEdit::Clear).map(drop), "there is no router `s`"),
        (updates.edit_routes("r", "a.com", RouteEdit::Remove(1)).map(drop), "there is no route 1"),
        (updates.edit_routes("r", "a.com", RouteEdit::Append("[]")).map(drop), "expected"),
        (updates.set_cluster(&cluster("", &[])).map(drop), "name: a cluster needs a name"),
        (updates.set_cluster(&cluster("c", &["nowhere"])).map(drop), "hosts[0].address: expected host:port"),
        (updates.set_cluster_settings("5").map(drop), "expected"),
        (updates.remove_clusters(&["c", "d"]), "cluster `d` does not exist"),
        (updates.edit_hosts("d", HostEdit::Replace("[]")).map(drop), "cluster `d` does not exist"),
        (updates.edit_hosts("c", HostEdit::Append("[{}]")).map(drop), "[0].address: a host needs an address"),
    ];
    for (result, message) in refused {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }
    assert_eq!((updates.dump("").unwrap(), running(&updates), updates.clusters().version()), before);
}

#[test]
fn a_domain_without_a_virtual_host_is_an_error_and_case_does_not_count() {
    let updates = updates();
    updates.remove_virtual_host("r", "any").unwrap();
    let route = direct("new").to_string();
    updates.edit_routes("r", "A.Com", RouteEdit::Append(&route)).unwrap();
    let error = updates.edit_routes("r", "", RouteEdit::Append(&route)).unwrap_err();
    assert_eq!(error.to_string(), "router `r` has no virtual host for the domain ``");
    let dump: Value = serde_json::from_str(&updates.dump("router=r").unwrap()).unwrap();
    assert_eq!(dump["virtual_hosts"][0]["routers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_table_may_begin_empty_and_a_listeners_cannot_be_removed() {
    let updates = updates();
    updates.set_router(&table("r1", &[])).unwrap();
    updates.set_virtual_host("r1", &virtual_host("a", &["a.com"]).to_string()).unwrap();
    updates.remove_virtual_host("r1", "a").unwrap();
    updates.remove_router("r1").unwrap();
    let filter =
        json!({"type": "connection_manager", "config": {"router_config_name": "old", "virtual_hosts": []}});
    let text = json!({"servers": [{"listeners": [{"name": "l", "address": "127.0.0.1:2045", "filter_chains": [{
        "filters": [{"type": "proxy", "config": {"downstream_protocol": "Http1", "router_config_name": "old"}}, filter]}]}]}]});
    let updates = Updates::without_process(load(&text.to_string())).unwrap();
    let error = updates.remove_router("old").unwrap_err().to_string();
    assert!(error.contains("stands in a listener's connection_manager filter"), "{error}");
    assert!(updates.router("old").is_some());
}

#[test]
fn what_a_change_replaced_is_freed_once_nobody_uses_it() {
    let updates = updates();
    let old = updates.router("r").unwrap();
    let weak = Arc::downgrade(&old);
    updates.edit_routes("r", "", RouteEdit::Clear).unwrap();
    assert_eq!(Arc::strong_count(&old), 2, "the user of the old table is never the one who frees it");
    drop(old);
    mosn_tests::until("the old table to be freed", || (weak.strong_count() == 0).then_some(()));
}

#[test]
fn hosts_that_were_found_serve_on_while_their_cluster_changes() {
    let updates = updates();
    let dns = |lb: &str| {
        json!({"name": "d", "type": "STRICT_DNS", "lb_type": lb, "hosts": [{"address": "a.test:80"}]})
            .to_string()
    };
    updates.set_cluster(&dns("LB_RANDOM")).unwrap();
    let found = updates.clusters().get("c").unwrap().spec().localities;
    updates.clusters().update_localities("d", found).unwrap();
    updates.set_cluster(&dns("LB_ROUNDROBIN")).unwrap();
    updates.edit_hosts("d", HostEdit::Append(r#"[{"address":"b.test:80"}]"#)).unwrap();
    let cluster = updates.clusters().get("d").unwrap();
    assert_eq!(cluster.hosts().len(), 1);
    let Discovery::StrictDns(dns) = cluster.discovery() else { panic!("{:?}", cluster.discovery()) };
    let names: Vec<_> = dns.names.iter().map(|host| &*host.address).collect();
    assert_eq!(names, ["b.test:80", "a.test:80"]);
}

/// A change, in terms of small numbers.
type Step = (u8, u8, u8, Vec<u8>);

fn apply(updates: &Updates, (kind, object, which, numbers): &Step) -> Result<(), UpdateError> {
    let (router, name) = (format!("r{}", object % 3), format!("c{object}"));
    let domain = format!("{which}.com");
    let host = |n: &u8| virtual_host(&format!("v{n}"), &[&format!("{n}.com")]);
    let addresses: Vec<_> = numbers.iter().map(|n| format!("1.1.1.1:{n}")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let hosts: Vec<_> =
        addresses.iter().map(|address| json!({"address": address, "weight": which})).collect();
    let hosts = json!(hosts).to_string();
    let route = direct(&which.to_string()).to_string();
    match kind {
        0 => updates.set_cluster(&cluster(&name, &addresses)).map(drop),
        1 => updates.set_cluster_settings(&json!({"name": name, "mark": which}).to_string()).map(drop),
        2 => updates.remove_clusters(&[&name]),
        3 => updates.edit_hosts(&name, HostEdit::Replace(&hosts)).map(drop),
        4 => updates.edit_hosts(&name, HostEdit::Append(&hosts)).map(drop),
        5 => updates.edit_hosts(&name, HostEdit::Remove(&addresses)).map(drop),
        6 => updates.set_router(&table(&router, &numbers.iter().map(host).collect::<Vec<_>>())).map(drop),
        7 => updates.remove_router(&router),
        8 => updates
            .set_virtual_host(&router, &virtual_host(&format!("v{object}"), &[&domain]).to_string())
            .map(drop),
        9 => updates.remove_virtual_host(&router, &format!("v{which}")),
        10 | 11 => updates.edit_routes(&router, &domain, RouteEdit::Append(&route)).map(drop),
        12 => updates.edit_routes(&router, &domain, RouteEdit::Replace(numbers.len(), &route)).map(drop),
        13 => updates.edit_routes(&router, &domain, RouteEdit::Remove(numbers.len())).map(drop),
        _ => updates.edit_routes(&router, &domain, RouteEdit::Clear).map(drop),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn after_any_changes_what_runs_is_what_a_fresh_load_would_run(
        steps in proptest::collection::vec(
            (0..15_u8, 0..4_u8, 0..9_u8, proptest::collection::vec(0..9_u8, 0..4)),
            0..60,
        ),
    ) {
        let updates = updates();
        for step in &steps {
            let before = (running(&updates), updates.dump("").unwrap());
            let done = apply(&updates, step);
            let after = (running(&updates), updates.dump("").unwrap());
            prop_assert!(done.is_ok() || before == after, "{:?} {:?}", step, done);
            prop_assert!(before.0 == after.0 || before.1 != after.1, "not shown: {:?}", step);
        }
        let file = updates.effective().to_file(Format::Json);
        let fresh = Updates::without_process(load(&file)).unwrap();
        prop_assert_eq!(running(&updates), running(&fresh));
        let sorted = |updates: &Updates| {
            let mut dump: Value = serde_json::from_str(&updates.dump("").unwrap()).unwrap();
            dump.sort_all_objects();
            dump
        };
        prop_assert_eq!(sorted(&updates), sorted(&fresh));
    }
}
