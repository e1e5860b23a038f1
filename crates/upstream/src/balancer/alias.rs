use std::sync::Arc;

use crate::Host;

/// Draws hosts by weight, each draw in the same time however many there are (Vose's alias method).
#[derive(Debug)]
pub(crate) struct Alias {
    /// Empty where all weights are the same. Of a slot that is drawn, the host of its number where
    /// the second draw is below the threshold, and the other one elsewhere.
    slots: Box<[(u32, u32)]>,
    count: usize,
}

impl Alias {
    pub(crate) fn new(hosts: &[Arc<Host>]) -> Self {
        let count = hosts.len();
        if hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight) {
            return Self { slots: Box::default(), count };
        }
        let total: f64 = hosts.iter().map(|host| f64::from(host.weight)).sum();
        let mut parts: Vec<f64> =
            hosts.iter().map(|host| f64::from(host.weight) * count as f64 / total).collect();
        let mut slots: Vec<_> = (0..count as u32).map(|index| (u32::MAX, index)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|&index| parts[index] < 1.0);
        while let (Some(&giver), Some(taker)) = (large.last(), small.pop()) {
            slots[taker] = ((parts[taker] * f64::from(u32::MAX)) as u32, giver as u32);
            parts[giver] -= 1.0 - parts[taker];
            if parts[giver] < 1.0 {
                large.pop();
                small.push(giver);
            }
        }
        Self { slots: slots.into_boxed_slice(), count }
    }

    /// The number of a host; there is at least one.
    pub(crate) fn draw(&self) -> usize {
        // One draw for both: its halves say which slot, and which of the slot's two hosts.
        let drawn = fastrand::u64(..);
        let slot = (((drawn >> 32) * self.count as u64) >> 32) as usize;
        match self.slots.get(slot) {
            Some(&(threshold, other)) if drawn as u32 >= threshold => other as usize,
            _ => slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::testing::{fits, hosts};

    #[test]
    fn draws_follow_weights() {
        for weights in [&[1, 1, 1][..], &[1, 128], &[5, 1, 1, 30, 7], &[3]] {
            let alias = Alias::new(&hosts(weights));
            let mut counts = vec![0; weights.len()];
            for _ in 0..20_000 {
                counts[alias.draw()] += 1;
            }
            let shares: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
            assert!(weights.len() == 1 || fits(&counts, &shares), "{weights:?} {counts:?}");
        }
    }
}
