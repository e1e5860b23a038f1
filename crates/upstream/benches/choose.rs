//! How long it takes to choose a host, and to change a cluster.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mosn_config::model::{
    BalancerKind, BalancingSpec, ClusterSpec, HostSpec, LocalitySpec, Name, SubsetFallback, SubsetSpec,
};
use mosn_upstream::{ChooseContext, Clusters};

fn host(cluster: usize, number: usize, weight: u32) -> HostSpec {
    let label = |key: &str, value: String| (Name::from(key), Name::from(value));
    let labels = [label("version", format!("v{}", number % 10)), label("zone", format!("z{}", number % 3))];
    HostSpec {
        address: format!("10.{}.{}.{}:{}", cluster / 256, cluster % 256, number % 256, 8000 + number / 256)
            .into(),
        hostname: "".into(),
        weight,
        metadata: Some(Box::new([("mosn.lb".into(), labels.into())].into())),
        tls_disable: false,
    }
}

fn spec(cluster: usize, hosts: usize, balancer: BalancerKind, weighted: bool) -> ClusterSpec {
    let weight = |number: usize| if weighted { number as u32 % 100 + 1 } else { 1 };
    let hosts = (0..hosts).map(|number| host(cluster, number, weight(number))).collect();
    ClusterSpec {
        name: format!("cluster{cluster}").into(),
        balancer,
        localities: vec![LocalitySpec { hosts, ..LocalitySpec::default() }],
        ..ClusterSpec::default()
    }
}

fn with_subsets(spec: ClusterSpec) -> ClusterSpec {
    let selectors = vec![vec!["zone".into()], vec!["version".into(), "zone".into()]];
    let subset = SubsetSpec { selectors, fallback: SubsetFallback::Any };
    ClusterSpec { balancing: BalancingSpec { subset: Some(Box::new(subset)), ..spec.balancing }, ..spec }
}

fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("choose among 1,000 hosts");
    let kinds = [
        ("round robin", BalancerKind::RoundRobin, false),
        ("random", BalancerKind::Random, false),
        ("weighted round robin", BalancerKind::WeightedRoundRobin, true),
        ("weighted random", BalancerKind::WeightedRandom, true),
        ("least request", BalancerKind::LeastRequest, false),
        ("least request, weighted", BalancerKind::LeastRequest, true),
        ("least connection", BalancerKind::LeastConnection, false),
        ("peak ewma", BalancerKind::PeakEwma, false),
        ("maglev", BalancerKind::Maglev, false),
        ("ring hash", BalancerKind::RingHash, false),
        ("request round robin", BalancerKind::RequestRoundRobin, false),
    ];
    for (name, kind, weighted) in kinds {
        let clusters = Clusters::new();
        clusters.add_or_update(spec(1, 1000, kind, weighted)).expect("a valid cluster");
        let cluster = clusters.get("cluster1").expect("the cluster");
        let mut hash = 0_u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut cx = ChooseContext { hash: Some(hash), ..ChooseContext::default() };
                black_box(cluster.choose(&mut cx).map(|host| host.id))
            });
        });
    }
    let clusters = Clusters::new();
    clusters
        .add_or_update(with_subsets(spec(1, 1000, BalancerKind::RoundRobin, false)))
        .expect("a valid cluster");
    let cluster = clusters.get("cluster1").expect("the cluster");
    let labels = [("version".into(), "v3".into()), ("zone".into(), "z1".into())].into();
    group.bench_function("round robin, of a subset", |b| {
        b.iter(|| {
            let mut cx = ChooseContext { metadata: Some(&labels), ..ChooseContext::default() };
            black_box(cluster.choose(&mut cx).map(|host| host.id))
        });
    });
    group.finish();
}

fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("change");
    let clusters = Clusters::new();
    let all = (0..10_000).map(|cluster| spec(cluster, 10, BalancerKind::RoundRobin, false)).collect();
    clusters.set_all(all).expect("valid clusters");
    let mut number = 0;
    group.bench_function("one of 10,000 clusters x 10 hosts", |b| {
        b.iter(|| {
            number = (number + 7919) % 10_000;
            let hosts = (0..10).map(|host_number| host(number, host_number, 1)).collect();
            clusters.update_hosts(&format!("cluster{number}"), hosts).expect("the cluster");
        });
    });
    group.bench_function("look a cluster up", |b| {
        b.iter(|| {
            number = (number + 7919) % 10_000;
            black_box(clusters.load().get("cluster4711").map(|cluster| cluster.mark))
        });
    });
    let clusters = Clusters::new();
    for (name, kind) in [
        ("build maglev for 1,000 hosts", BalancerKind::Maglev),
        ("build a ring for 1,000 hosts", BalancerKind::RingHash),
        ("build weighted round robin for 1,000 hosts", BalancerKind::WeightedRoundRobin),
    ] {
        let spec = spec(1, 1000, kind, true);
        group.bench_function(name, |b| {
            b.iter_batched(
                || spec.clone(),
                |spec| clusters.add_or_update(spec).expect("a valid cluster"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    targets = choose, change
}
criterion_main!(benches);
