//! The order in which weighted hosts have their turns: earliest deadline first.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A host that waits for its turn. Turns come by deadline, and of the same deadline by who has
/// waited longer.
#[derive(Debug)]
struct Turn {
    deadline: f64,
    queued: u64,
    host: u32,
}

impl Ord for Turn {
    /// The greatest is the next one.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.queued.cmp(&self.queued))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

/// The turns of hosts with these weights, without end; each weight is above 0.
///
/// A host's deadline is one over its weight after its last one, in floating point as in MOSN, whose
/// rounding decides who comes first of those whose deadlines should be the same.
pub(crate) fn turns(weights: &[u32]) -> impl Iterator<Item = u32> {
    let steps: Vec<f64> = weights.iter().map(|&weight| 1.0 / f64::from(weight)).collect();
    let mut queue: BinaryHeap<Turn> = (0..)
        .zip(&steps)
        .map(|(host, &step)| Turn { deadline: step, queued: u64::from(host), host })
        .collect();
    let mut queued = steps.len() as u64;
    std::iter::from_fn(move || {
        let mut next = queue.peek_mut()?;
        let host = next.host;
        next.deadline += steps[host as usize];
        next.queued = queued;
        queued += 1;
        Some(host)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_of_weights_1_2_3_come_in_mosns_order() {
        let turns: String = turns(&[1, 2, 3]).take(18).map(|host| ['A', 'B', 'C'][host as usize]).collect();
        assert_eq!(turns, "CBCABCCBCCABCBCABC");
    }

    proptest! {
        #[test]
        fn any_stretch_of_turns_is_within_one_and_a_half_of_its_share(
            weights in prop::collection::vec(1..=128_u32, 1..20),
            start in 0_usize..500,
            len in 1_usize..500,
        ) {
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            for host in turns(&weights).skip(start).take(len) {
                counts[host as usize] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let share = len as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((f64::from(*count) - share).abs() < 2.0 + share * 0.01, "{counts:?} {weights:?}");
            }
        }
    }
}
