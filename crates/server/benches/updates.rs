//! What a change costs where there is much else: 10,000 clusters of 10 hosts, 10,000 virtual hosts of
//! 10 routes; and, beside each, where there is nothing else.

use std::{hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use mosn_config::{Format, HostEdit, Options, RouteEdit, parse};
use mosn_server::Updates;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn cluster(n: usize) -> Value {
    let hosts: Vec<_> =
        (0..10).map(|host| json!({"address": format!("10.{}.{}.{host}:8080", n / 256, n % 256)})).collect();
    json!({"name": format!("cluster-{n}"), "lb_type": "LB_RANDOM", "hosts": hosts})
}

fn virtual_host(n: usize) -> Value {
    let routes: Vec<_> = (0..10)
        .map(|route| {
            json!({"match": {"prefix": format!("/service/{route}/")},
                "route": {"cluster_name": format!("cluster-{n}"), "timeout": "3s"}})
        })
        .collect();
    json!({"name": format!("host-{n}"), "domains": [format!("host-{n}.example.com")], "routers": routes})
}

fn updates(count: usize) -> Updates {
    let text = json!({
        "servers": [{"routers": [{"router_config_name": "r",
            "virtual_hosts": (0..count).map(virtual_host).collect::<Vec<_>>()}]}],
        "cluster_manager": {"clusters": (0..count).map(cluster).collect::<Vec<_>>()}
    });
    let loaded = parse(&text.to_string(), Format::Json, Path::new("conf/c.json"), Options::default());
    Updates::without_process(loaded.expect("a configuration")).expect("what it says")
}

fn benches(c: &mut Criterion) {
    for count in [1, 10_000] {
        let updates = updates(count);
        let mut group = c.benchmark_group(format!("one of {count}"));
        // Objects far apart, so that the caches hold none of them.
        let mut n = 0;
        let mut next = move || {
            n = (n + 7919) % count;
            n
        };
        group.bench_function("cluster", |b| {
            b.iter(|| black_box(updates.set_cluster(&cluster(next()).to_string()).expect("a change")));
        });
        group.bench_function("hosts of a cluster", |b| {
            let hosts = cluster(0)["hosts"].to_string();
            b.iter(|| {
                let name = format!("cluster-{}", next());
                updates.edit_hosts(&name, HostEdit::Replace(&hosts)).expect("a change")
            });
        });
        group.bench_function("route", |b| {
            let route = virtual_host(0)["routers"][3].to_string();
            b.iter(|| {
                let domain = format!("host-{}.example.com", next());
                updates.edit_routes("r", &domain, RouteEdit::Replace(3, &route)).expect("a change")
            });
        });
        group.bench_function("virtual host, same domains", |b| {
            b.iter(|| updates.set_virtual_host("r", &virtual_host(next()).to_string()).expect("a change"));
        });
        group.bench_function("virtual host, added and removed", |b| {
            b.iter(|| {
                let host = virtual_host(count).to_string();
                updates.set_virtual_host("r", &host).expect("a change");
                updates.remove_virtual_host("r", &format!("host-{count}")).expect("a change");
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = benches
}
criterion_main!(all);
