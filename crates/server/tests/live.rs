//! A process whose routes and clusters change under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use mosn_config::{Format, HostEdit, Options, RouteEdit, parse};
use mosn_server::{ProcessOptions, Updates};
use mosn_tests::{Client, Origin, Reply, Request, free_port, until};
use serde_json::{Value, json};

/// One process for all tests, which each have a listener and a route table of their own.
struct World {
    updates: Updates,
    ports: [u16; 4],
    _folder: tempfile::TempDir,
}

const PROTOCOLS: [&str; 4] = ["Http1", "Http2", "Http1", "Http1"];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let ports = PROTOCOLS.map(|_| free_port());
    let listeners = ports.iter().zip(PROTOCOLS).enumerate().map(|(index, (port, protocol))| {
        let proxy = json!({"downstream_protocol": protocol, "router_config_name": format!("r{index}")});
        json!({"name": format!("l{index}"), "address": format!("127.0.0.1:{port}"), "bind_port": true,
            "filter_chains": [{"filters": [{"type": "proxy", "config": proxy}]}]})
    });
    let routers = (0..PROTOCOLS.len()).map(|index| {
        let to = json!({"match": {"prefix": "/"}, "route": {"cluster_name": "none", "upstream_protocol": "Http1"}});
        json!({"router_config_name": format!("r{index}"),
            "virtual_hosts": [{"name": "any", "domains": ["*"], "routers": [to]}]})
    });
    let text = json!({
        "servers": [{"processor": 2, "default_log_path": folder.path().join("mosn.log"),
            "listeners": listeners.collect::<Vec<_>>(), "routers": routers.collect::<Vec<_>>()}],
        "pid": folder.path().join("mosn.pid"),
    });
    let base = folder.path().join("conf/mosn.json");
    let loaded = parse(&text.to_string(), Format::Json, &base, Options::default()).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let options = ProcessOptions {
            drain_time: Duration::from_secs(1),
            interrupt_drains: false,
            version: "test".into(),
            features: mosn_admin::Features::default(),
            debug_api: false,
        };
        mosn_server::run(loaded, &options, |updates| sender.send(updates.clone()).unwrap()).unwrap();
    });
    World { updates: receiver.recv().unwrap(), ports, _folder: folder }
});

impl World {
    fn client(&self, index: usize) -> Client {
        Client::connect(PROTOCOLS[index], SocketAddr::from(([127, 0, 0, 1], self.ports[index])))
    }

    fn ask(&self, index: usize) -> Reply {
        self.client(index).ask(&Request::get("/"))
    }
}

fn to(cluster: &str) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster_name": cluster, "upstream_protocol": "Http1"}})
}

fn table(index: usize, routes: &[Value]) -> String {
    json!({"router_config_name": format!("r{index}"),
        "virtual_hosts": [{"name": "any", "domains": ["*"], "routers": routes}]})
    .to_string()
}

fn cluster(name: &str, origin: &Origin) -> String {
    json!({"name": name, "hosts": [{"address": origin.address()}]}).to_string()
}

/// Asks on connections that are kept until it is told to stop; how many replies there were.
fn load(index: usize, stop: &Arc<AtomicBool>, count: &Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    std::thread::spawn(move || {
        let mut client = WORLD.client(index);
        while !stop.load(Relaxed) {
            let reply = client.exchange(&Request::get("/"));
            let reply = reply.unwrap_or_else(|broken| panic!("{broken:?}"));
            assert_eq!(reply.status, 200, "{reply:?}");
            count.fetch_add(1, Relaxed);
        }
    })
}

#[test]
fn everything_may_change_under_load_and_no_request_fails() {
    let updates = &WORLD.updates;
    let origins = [Origin::saying("a"), Origin::saying("b"), Origin::saying("c")];
    for (name, origin) in ["a", "b"].iter().zip(&origins) {
        updates.set_cluster(&cluster(name, origin)).unwrap();
    }
    for index in [0, 1] {
        updates.set_router(&table(index, &[to("a")])).unwrap();
    }
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = [0, 0, 1, 1].map(|index| load(index, &stop, &count)).into();
    let hosts = |n: usize| json!([{"address": origins[n % 3].address()}]).to_string();
    let mut seen = count.load(Relaxed);
    for n in 0..300_usize {
        let router = format!("r{}", n % 2);
        match n % 10 {
            0 => drop(updates.set_router(&table(n / 10 % 2, &[to("b"), to("a")])).unwrap()),
            1 => drop(updates.edit_routes(&router, "", RouteEdit::Replace(0, &to("a").to_string())).unwrap()),
            2 => drop(updates.edit_hosts("a", HostEdit::Append(&hosts(n))).unwrap()),
            3 => drop(updates.edit_hosts("b", HostEdit::Replace(&hosts(n))).unwrap()),
            4 => drop(updates.edit_hosts("a", HostEdit::Remove(&["9.9.9.9:9"])).unwrap()),
            5 => {
                let host = json!({"name": format!("v{n}"), "domains": [format!("{n}.com")], "routers": []});
                updates.set_virtual_host(&router, &host.to_string()).unwrap();
            }
            6 => drop(updates.set_cluster(&cluster(&format!("other{}", n % 7), &origins[2])).unwrap()),
            7 => drop(updates.edit_routes(&router, "", RouteEdit::Append(&to("b").to_string())).unwrap()),
            8 => drop(updates.set_cluster_settings(r#"{"name":"b","lb_type":"LB_RANDOM"}"#).unwrap()),
            _ => drop(updates.set_cluster(&cluster("a", &origins[n % 3])).unwrap()),
        }
        if n % 10 == 9 {
            until("requests between changes", || (count.load(Relaxed) > seen + 4).then_some(()));
            seen = count.load(Relaxed);
        }
    }
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(count.load(Relaxed) > 150);
}

#[test]
fn a_request_keeps_what_it_began_with() {
    let updates = &WORLD.updates;
    let go_on = Arc::new(AtomicBool::new(false));
    let leave = Arc::clone(&go_on);
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        until("leave to answer", || leave.load(Relaxed).then_some(()));
        exchange.reply(200, &[], b"late")
    });
    updates.set_cluster(&cluster("slow", &origin)).unwrap();
    updates.set_router(&table(2, &[to("slow")])).unwrap();
    let asking = std::thread::spawn(|| WORLD.ask(2));
    let _ = origin.log().nth(1);
    updates.remove_router("r2").unwrap();
    updates.remove_clusters(&["slow"]).unwrap();
    assert_eq!(WORLD.ask(2).status, 404, "a new request finds no route");
    go_on.store(true, Relaxed);
    let reply = asking.join().unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "late"));
}

#[test]
fn what_routes_and_listeners_name_may_go_and_come() {
    let updates = &WORLD.updates;
    let mut client = WORLD.client(3);
    let mut status = || client.ask(&Request::get("/")).status;
    let origin = Origin::saying("here");
    updates.set_router(&table(3, &[to("comes")])).unwrap();
    assert_eq!(status(), 404, "there is no such cluster");
    updates.set_cluster(&cluster("comes", &origin)).unwrap();
    assert_eq!(status(), 200);
    updates.edit_hosts("comes", HostEdit::Replace("[]")).unwrap();
    assert_eq!(status(), 502, "a cluster without hosts");
    let hosts = json!([{"address": origin.address()}]).to_string();
    updates.edit_hosts("comes", HostEdit::Append(&hosts)).unwrap();
    assert_eq!(status(), 200);
    updates.remove_clusters(&["comes"]).unwrap();
    assert_eq!(status(), 404);
    updates.set_cluster(&cluster("comes", &origin)).unwrap();
    updates.remove_router("r3").unwrap();
    assert_eq!(status(), 404, "there is no such table");
    updates.set_router(&table(3, &[to("comes")])).unwrap();
    assert_eq!(status(), 200);
    updates.edit_routes("r3", "any.com", RouteEdit::Clear).unwrap();
    assert_eq!(status(), 404, "no route is left");
}
