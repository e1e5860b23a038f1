use std::{collections::HashSet, time::Instant};

use mosn_config::model::{BalancingSpec, HostSpec};
use proptest::prelude::*;

use super::*;
use crate::{ChooseContext, Cluster, Clusters, Health, HostId};

type Labels = BTreeMap<Name, Name>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

fn cluster(hosts: &[Labels], selectors: &[&[&str]], fallback: SubsetFallback) -> Arc<Cluster> {
    let hosts = hosts.iter().enumerate().map(|(index, labels)| HostSpec {
        address: format!("10.0.0.{}:80", index + 1).into(),
        hostname: "".into(),
        weight: 1,
        metadata: Some(Box::new([(NAMESPACE.into(), labels.clone())].into())),
        tls_disable: false,
    });
    let selectors = selectors.iter().map(|keys| keys.iter().map(|&key| key.into()).collect()).collect();
    let spec = ClusterSpec {
        name: "c".into(),
        localities: vec![LocalitySpec { hosts: hosts.collect(), ..LocalitySpec::default() }],
        balancing: BalancingSpec {
            subset: Some(Box::new(SubsetSpec { selectors, fallback })),
            ..BalancingSpec::default()
        },
        ..ClusterSpec::default()
    };
    let clusters = Clusters::new();
    clusters.add_or_update(spec).unwrap();
    clusters.get("c").unwrap()
}

/// The hosts, by number, that requests with these labels come to.
fn reached(cluster: &Cluster, labels: Option<&Labels>) -> Vec<usize> {
    let number = |id: HostId| cluster.hosts().iter().position(|host| host.id == id).unwrap();
    let choose = || cluster.choose(&mut ChooseContext { metadata: labels, ..ChooseContext::default() });
    let reached: HashSet<_> = (0..40).filter_map(|_| choose()).map(|host| number(host.id)).collect();
    let mut reached: Vec<_> = reached.into_iter().collect();
    reached.sort_unstable();
    reached
}

fn versions() -> Vec<Labels> {
    vec![
        labels(&[("version", "v1"), ("zone", "a")]),
        labels(&[("version", "v1"), ("zone", "b")]),
        labels(&[("version", "v2")]),
    ]
}

const SELECTORS: [&[&str]; 4] = [&["version"], &["zone", "version"], &["version", "zone", "zone"], &[]];

#[test]
fn labels_lead_to_the_hosts_that_have_them() {
    let cluster = cluster(&versions(), &SELECTORS, SubsetFallback::Any);
    assert_eq!(reached(&cluster, Some(&labels(&[("version", "v1")]))), [0, 1]);
    assert_eq!(reached(&cluster, Some(&labels(&[("version", "v1"), ("zone", "b")]))), [1]);
    assert_eq!(reached(&cluster, None), [0, 1, 2]);
    assert_eq!(cluster.subset_numbers(), (4, 0));
    let by_version = labels(&[("version", "v1")]);
    let cx = ChooseContext { metadata: Some(&by_version), ..ChooseContext::default() };
    assert_eq!(cluster.host_count(&cx), 2);
}

#[test]
fn where_labels_lead_nowhere_the_fallback_decides() {
    let zone = labels(&[("zone", "a")]);
    let none = Labels::new();
    let any = cluster(&versions(), &SELECTORS, SubsetFallback::Any);
    assert_eq!(reached(&any, Some(&zone)), [0, 1, 2]);
    assert_eq!(any.subset_numbers().1, 40);
    assert_eq!(reached(&any, Some(&none)), [0, 1, 2]);

    let nowhere = cluster(&versions(), &SELECTORS, SubsetFallback::None);
    assert!(reached(&nowhere, Some(&zone)).is_empty());
    assert!(reached(&nowhere, Some(&none)).is_empty());
    assert_eq!(nowhere.host_count(&ChooseContext { metadata: Some(&zone), ..ChooseContext::default() }), 0);

    let default = |labels| cluster(&versions(), &SELECTORS, SubsetFallback::Default(labels));
    assert_eq!(reached(&default(labels(&[("version", "v2")])), Some(&zone)), [2]);
    assert_eq!(reached(&default(Labels::new()), Some(&zone)), [0, 1, 2]);
    assert!(reached(&default(labels(&[("version", "v9")])), Some(&zone)).is_empty());
}

#[test]
fn a_subset_without_a_healthy_host_falls_back() {
    let cluster = cluster(&versions(), &SELECTORS, SubsetFallback::Any);
    cluster.hosts()[2].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
    assert_eq!(reached(&cluster, Some(&labels(&[("version", "v2")]))), [0, 1]);
}

proptest! {
    #[test]
    fn subsets_are_what_asking_every_host_gives(
        hosts in prop::collection::vec(prop::collection::btree_map("[abc]", "[xy]", 0..3), 1..8),
        selectors in prop::collection::vec(prop::collection::btree_set("[abc]", 0..3), 1..4),
        asked in prop::collection::btree_map("[abc]", "[xy]", 0..3),
    ) {
        let convert = |labels: &BTreeMap<String, String>| {
            labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect::<Labels>()
        };
        let hosts: Vec<Labels> = hosts.iter().map(convert).collect();
        let asked = convert(&asked);
        let keys: Vec<Vec<&str>> =
            selectors.iter().map(|keys| keys.iter().map(String::as_str).collect()).collect();
        let slices: Vec<&[&str]> = keys.iter().map(Vec::as_slice).collect();
        let cluster = cluster(&hosts, &slices, SubsetFallback::None);

        let selectable = keys.iter().any(|keys| {
            !keys.is_empty() && keys.iter().copied().eq(asked.keys().map(|key| &**key))
        });
        let has_all = |host: &Labels| asked.iter().all(|(key, value)| host.get(key) == Some(value));
        let all_empty = keys.iter().all(Vec::is_empty);
        let expected: Vec<usize> = match (all_empty, selectable) {
            (true, _) => (0..hosts.len()).collect(),
            (false, true) => (0..hosts.len()).filter(|&index| has_all(&hosts[index])).collect(),
            (false, false) => vec![],
        };
        prop_assert_eq!(reached(&cluster, Some(&asked)), expected);
    }
}
