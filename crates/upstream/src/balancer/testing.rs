//! What tests of balancers have in common.

use mosn_config::model::HostSpec;

use super::*;

pub(crate) const PLAIN: Terms<'_> = Terms { panic: false, slow_start: None, averages: None, requests: None };

/// Hosts `10.0.0.1:80`, `10.0.0.2:80`... with these weights.
pub(crate) fn hosts(weights: &[u32]) -> Vec<Arc<Host>> {
    let addresses = (1..).map(|n: usize| format!("10.0.{}.{}:80", n / 256, n % 256));
    addresses.zip(weights).map(|(address, &weight)| host(&address, weight)).collect()
}

pub(crate) fn host(address: &str, weight: u32) -> Arc<Host> {
    let spec =
        HostSpec { address: address.into(), hostname: "".into(), weight, metadata: None, tls_disable: false };
    Host::new(&spec, 0, None).unwrap()
}

pub(crate) fn index_of(hosts: &[Arc<Host>], chosen: &Arc<Host>) -> usize {
    hosts.iter().position(|host| host.id == chosen.id).unwrap()
}

/// How often each host is chosen in `times` choices.
pub(crate) fn counts(balancer: &Balancer, hosts: &[Arc<Host>], terms: Terms<'_>, times: usize) -> Vec<usize> {
    let mut counts = vec![0; hosts.len()];
    for _ in 0..times {
        // Hash balancers see another key each time.
        let mut cx = ChooseContext { hash: Some(fastrand::u64(..)), ..ChooseContext::default() };
        let chosen = balancer.choose(hosts, &mut cx, terms).unwrap();
        counts[index_of(hosts, chosen)] += 1;
    }
    counts
}

/// Whether counts are what `shares` would give, by a chi-squared test that fails one honest balancer
/// in more than a million.
pub(crate) fn fits(counts: &[usize], shares: &[f64]) -> bool {
    let (total, sum) = (counts.iter().sum::<usize>() as f64, shares.iter().sum::<f64>());
    let chi: f64 = counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| {
            let expected = total * share / sum;
            if expected == 0.0 {
                return if count == 0 { 0.0 } else { f64::INFINITY };
            }
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    // Wilson and Hilferty's approximation of the quantile, 5 standard deviations out.
    let freedom = (counts.len() - 1) as f64;
    let cube = 1.0 - 2.0 / (9.0 * freedom) + 5.0 * (2.0 / (9.0 * freedom)).sqrt();
    chi < freedom * cube.powi(3)
}
