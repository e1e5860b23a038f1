use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that goes up, and for the `*_active` metrics also down.
///
/// Only one thread may write to it, because writing is a load and a store: a second writer would
/// lose counts (never memory safety). Any thread may read. A connection that moves to another worker
/// is counted up in one shard and down in another; wrapping arithmetic makes the sum right.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes 1 away.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the value: for gauges.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value as u64, Relaxed);
    }

    /// The value of this shard, which may be below 0 where another shard is above.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_where_one_counts_up_and_another_down() {
        let (opened_here, closed_here) = (Counter::default(), Counter::default());
        opened_here.add(3);
        opened_here.inc();
        closed_here.dec();
        closed_here.sub(2);
        assert_eq!(closed_here.get(), -3);
        assert_eq!(opened_here.get().wrapping_add(closed_here.get()), 1);
    }
}
