use std::time::Duration;

use super::{testing::*, *};
use crate::Health;

const KINDS: [BalancerKind; 10] = [
    BalancerKind::RoundRobin,
    BalancerKind::Random,
    BalancerKind::WeightedRoundRobin,
    BalancerKind::WeightedRandom,
    BalancerKind::LeastRequest,
    BalancerKind::LeastConnection,
    BalancerKind::PeakEwma,
    BalancerKind::Maglev,
    BalancerKind::RingHash,
    BalancerKind::RequestRoundRobin,
];

fn balancer(kind: BalancerKind, hosts: &[Arc<Host>]) -> Balancer {
    Balancer::new(kind, &BalancingSpec::default(), hosts)
}

fn fail(host: &Host) {
    host.set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
}

#[test]
fn unhealthy_hosts_are_never_chosen_but_in_panic() {
    for kind in KINDS {
        let hosts = hosts(&[1, 2, 1]);
        let balancer = balancer(kind, &hosts);
        fail(&hosts[1]);
        let counted = counts(&balancer, &hosts, PLAIN, 600);
        assert_eq!(counted[1], 0, "{kind:?}");
        fail(&hosts[0]);
        fail(&hosts[2]);
        let cx = &mut ChooseContext::default();
        assert!(balancer.choose(&hosts, cx, PLAIN).is_none(), "{kind:?}");
        assert!(balancer.choose(&hosts, cx, Terms { panic: true, ..PLAIN }).is_some(), "{kind:?}");
    }
}

#[test]
fn a_retry_goes_to_another_host_while_there_is_one() {
    for kind in KINDS {
        let hosts = hosts(&[1, 9, 1]);
        let balancer = balancer(kind, &hosts);
        let previous = [hosts[0].id, hosts[1].id];
        let again = || ChooseContext { previous: &previous, hash: Some(7), ..ChooseContext::default() };
        for _ in 0..50 {
            assert_eq!(balancer.choose(&hosts, &mut again(), PLAIN).unwrap().id, hosts[2].id, "{kind:?}");
        }
        fail(&hosts[2]);
        assert!(previous.contains(&balancer.choose(&hosts, &mut again(), PLAIN).unwrap().id), "{kind:?}");
    }
}

#[test]
fn retries_of_one_host_spread_over_the_others() {
    for kind in KINDS.into_iter().filter(|kind| *kind != BalancerKind::RequestRoundRobin) {
        let hosts = hosts(&[1; 4]);
        let balancer = balancer(kind, &hosts);
        let previous = [hosts[0].id];
        let mut counts = [0; 4];
        for _ in 0..900 {
            let hash = Some(fastrand::u64(..));
            let mut cx = ChooseContext { previous: &previous, hash, ..ChooseContext::default() };
            counts[index_of(&hosts, balancer.choose(&hosts, &mut cx, PLAIN).unwrap())] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|&count| count > 150), "{kind:?} {counts:?}");
    }
}

#[test]
fn no_hosts_no_choice_and_one_host_one_choice() {
    for kind in KINDS {
        let cx = &mut ChooseContext::default();
        assert!(balancer(kind, &[]).choose(&[], cx, PLAIN).is_none(), "{kind:?}");
        let hosts = hosts(&[5]);
        assert!(balancer(kind, &hosts).choose(&hosts, cx, PLAIN).is_some(), "{kind:?}");
    }
}

#[test]
fn shares_are_equal_or_follow_weights() {
    let hosts = hosts(&[1, 2, 3, 10]);
    for kind in KINDS {
        let shares: [f64; 4] = match kind {
            BalancerKind::RoundRobin | BalancerKind::Random | BalancerKind::Maglev => [1.0; 4],
            BalancerKind::RequestRoundRobin => [1.0, 0.0, 0.0, 0.0],
            // What its ring gives depends on where the points fall.
            BalancerKind::RingHash => continue,
            // Of two that are drawn the heavier one, as long as nothing else tells them apart.
            BalancerKind::PeakEwma => [1.0, 3.0, 5.0, 7.0],
            _ => [1.0, 2.0, 3.0, 10.0],
        };
        let counted = counts(&balancer(kind, &hosts), &hosts, PLAIN, 16_000);
        assert!(fits(&counted, &shares), "{kind:?} {counted:?}");
    }
}

#[test]
fn a_new_host_gets_its_share_bit_by_bit() {
    let spec = SlowStartSpec { window: Duration::from_secs(100), aggression: 1.0, min_weight: 0.1 };
    let terms = Terms { slow_start: Some(&spec), ..PLAIN };
    for kind in [
        BalancerKind::WeightedRoundRobin,
        BalancerKind::WeightedRandom,
        BalancerKind::LeastRequest,
        BalancerKind::LeastConnection,
    ] {
        let hosts = hosts(&[2, 2]);
        let start = Instant::now();
        let later = start + Duration::from_secs(1000);
        // The first has been here for long, the second recovers now.
        hosts[1].set_health(Health::FAILED_ACTIVE_CHECK, true, later);
        hosts[1].set_health(Health::FAILED_ACTIVE_CHECK, false, later);
        let balancer = balancer(kind, &hosts);
        let share = |after: u64| {
            let chosen = (0..2000).filter(|_| {
                let now = Some(later + Duration::from_secs(after));
                let cx = &mut ChooseContext { now, ..ChooseContext::default() };
                balancer.choose(&hosts, cx, terms).unwrap().id == hosts[1].id
            });
            chosen.count() as f64 / 2000.0
        };
        let (fresh, half, whole) = (share(1), share(50), share(101));
        assert!((0.01..0.16).contains(&fresh), "{kind:?} {fresh}");
        assert!((0.2..0.42).contains(&half), "{kind:?} {half}");
        assert!((0.45..0.55).contains(&whole), "{kind:?} {whole}");
    }
}
