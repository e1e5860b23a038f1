use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Values kept of one histogram shard: MOSN's default `metrics.sample.size`.
const SIZE: usize = 100;

/// A uniform sample of the values recorded, as MOSN's default `UNIFORM` sampling keeps it.
///
/// Minimum, maximum and percentiles are those of the sample, not of all time. Only one thread may
/// record; any may read. Takes 800 bytes, and only once something was recorded.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Reservoir>>);

/// Algorithm L (Li, 1994): instead of drawing a random number for each value, draws how many values
/// to pass over, so that recording into a full sample is nearly always a count and a compare.
#[derive(Debug)]
struct Reservoir {
    /// Values recorded so far.
    count: AtomicU64,
    /// The count at which the next value enters the full sample.
    next: AtomicU64,
    /// The algorithm's `W`, the bits of an `f64` in (0, 1).
    weight: AtomicU64,
    values: [AtomicU64; SIZE],
}

impl Histogram {
    /// Records a value: nanoseconds, for every metric of today.
    #[inline]
    pub fn record(&self, value: u64) {
        self.0.get_or_init(Reservoir::new).record(value);
    }

    /// The values sampled, and how many recorded values each of them stands for.
    pub(crate) fn sample(&self) -> Option<(Vec<u64>, f64)> {
        let reservoir = self.0.get()?;
        let count = reservoir.count.load(Relaxed);
        let kept = count.min(SIZE as u64) as usize;
        let values: Vec<u64> = reservoir.values[..kept].iter().map(|value| value.load(Relaxed)).collect();
        (kept > 0).then(|| (values, count as f64 / kept as f64))
    }
}

impl Reservoir {
    fn new() -> Box<Self> {
        Box::new(Self {
            count: AtomicU64::new(0),
            next: AtomicU64::new(u64::MAX),
            weight: AtomicU64::new(1.0_f64.to_bits()),
            values: [const { AtomicU64::new(0) }; SIZE],
        })
    }

    #[inline]
    fn record(&self, value: u64) {
        let seen = self.count.load(Relaxed);
        if seen < SIZE as u64 {
            self.values[seen as usize].store(value, Relaxed);
            self.count.store(seen + 1, Relaxed);
            if seen + 1 == SIZE as u64 {
                self.pass_over(seen + 1);
            }
            return;
        }
        self.count.store(seen + 1, Relaxed);
        if seen + 1 >= self.next.load(Relaxed) {
            self.values[fastrand::usize(..SIZE)].store(value, Relaxed);
            self.pass_over(seen + 1);
        }
    }

    /// Chooses the next value to keep, once `seen` values are through.
    #[cold]
    fn pass_over(&self, seen: u64) {
        // 1 - [0, 1) is never 0, whose logarithm would be infinite.
        let uniform = || 1.0 - fastrand::f64();
        let weight = f64::from_bits(self.weight.load(Relaxed)) * (uniform().ln() / SIZE as f64).exp();
        self.weight.store(weight.to_bits(), Relaxed);
        // Saturates where the weight has become too small to represent: from there on none is kept.
        let gap = (uniform().ln() / (-weight).ln_1p()).floor() as u64;
        self.next.store(seen.saturating_add(gap).saturating_add(1), Relaxed);
    }
}

/// Samples of several shards, seen as one.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedHistogram {
    /// Value, and how many recorded values it stands for.
    values: Vec<(u64, f64)>,
}

impl MergedHistogram {
    pub(crate) fn add(&mut self, shard: &Histogram) {
        if let Some((values, weight)) = shard.sample() {
            self.values.extend(values.into_iter().map(|value| (value, weight)));
        }
    }

    pub(crate) fn min(&self) -> u64 {
        self.values.iter().map(|&(value, _)| value).min().unwrap_or(0)
    }

    pub(crate) fn max(&self) -> u64 {
        self.values.iter().map(|&(value, _)| value).max().unwrap_or(0)
    }

    /// The value below which `percent` (0 to 100) of the values lie, interpolated between neighbours;
    /// 0 when there is none.
    ///
    /// With one shard this is the `p * (n + 1)`-th smallest value, which is what MOSN's library
    /// computes. With several, a shard that saw more counts for more.
    pub(crate) fn percentile(&self, percent: u8) -> f64 {
        let mut values = self.values.clone();
        values.sort_unstable_by_key(|&(value, _)| value);
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
        let total: f64 = values.iter().map(|(_, weight)| weight).sum();
        let scale = values.len() as f64 / total;
        let wanted = f64::from(percent) / 100.0 * (values.len() as f64 + 1.0);

        // A value of weight w covers w places in the order; it sits in their middle, which for w = 1
        // is its rank.
        let mut before = 0.0;
        let mut previous: Option<(f64, u64)> = None;
        for &(value, weight) in &values {
            let weight = weight * scale;
            let place = before + (weight + 1.0) / 2.0;
            if wanted <= place {
                return match previous {
                    None => first.0 as f64,
                    Some((at, low)) => {
                        let (low, high) = (low as f64, value as f64);
                        low + (wanted - at) / (place - at) * (high - low)
                    }
                };
            }
            before += weight;
            previous = Some((place, value));
        }
        last.0 as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(shards: &[&Histogram]) -> MergedHistogram {
        let mut merged = MergedHistogram::default();
        for shard in shards {
            merged.add(shard);
        }
        merged
    }

    #[test]
    fn nothing_recorded_reads_as_zero_and_takes_no_memory() {
        let histogram = Histogram::default();
        let merged = merged(&[&histogram]);
        assert_eq!((merged.min(), merged.max()), (0, 0));
        assert_eq!(merged.percentile(50), 0.0);
        assert!(histogram.0.get().is_none());
    }

    #[test]
    fn percentiles_interpolate_at_p_times_n_plus_one() {
        let histogram = Histogram::default();
        for value in [40, 10, 30, 20] {
            histogram.record(value);
        }
        let merged = merged(&[&histogram]);
        assert_eq!((merged.min(), merged.max()), (10, 40));
        assert_eq!(merged.percentile(0), 10.0);
        assert_eq!(merged.percentile(25), 12.5);
        assert_eq!(merged.percentile(50), 25.0);
        assert_eq!(merged.percentile(99), 40.0);
        assert_eq!(merged.percentile(100), 40.0);
    }

    #[test]
    fn a_full_sample_stays_uniform_over_everything_recorded() {
        // 200 runs over 0..2000: the mean of the sample's mean is 999.5 with a standard error of
        // about 4; a sample that kept early or late values too often would be off by hundreds.
        let mut sum = 0.0;
        for _ in 0..200 {
            let histogram = Histogram::default();
            (0..2000).for_each(|value| histogram.record(value));
            let (values, weight) = histogram.sample().unwrap();
            assert_eq!(values.len(), SIZE);
            assert!((weight - 20.0).abs() < f64::EPSILON);
            sum += values.iter().sum::<u64>() as f64 / SIZE as f64;
        }
        assert!((sum / 200.0 - 999.5).abs() < 40.0, "{}", sum / 200.0);
    }

    #[test]
    fn a_busier_shard_counts_for_more() {
        let (quiet, busy) = (Histogram::default(), Histogram::default());
        (0..100).for_each(|_| quiet.record(1000));
        (0..9_900).for_each(|_| busy.record(1));
        let merged = merged(&[&quiet, &busy]);
        assert_eq!(merged.percentile(90), 1.0);
        assert_eq!(merged.max(), 1000);
    }

    proptest! {
        #[test]
        fn splitting_values_over_shards_changes_nothing(
            values in prop::collection::vec(0_u64..1_000_000, 1..90),
            shards in 1_usize..5,
            percent in 0_u8..=100,
        ) {
            let one = Histogram::default();
            let several: Vec<Histogram> = (0..shards).map(|_| Histogram::default()).collect();
            for (index, &value) in values.iter().enumerate() {
                one.record(value);
                several[index % shards].record(value);
            }
            let (one, several) = (merged(&[&one]), merged(&several.iter().collect::<Vec<_>>()));
            prop_assert_eq!(one.min(), several.min());
            prop_assert_eq!(one.max(), several.max());
            prop_assert!((one.percentile(percent) - several.percentile(percent)).abs() < 1e-6);
        }

        #[test]
        fn percentiles_grow_and_stay_within_the_values(
            values in prop::collection::vec(any::<u64>(), 1..300),
        ) {
            let histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            let merged = merged(&[&histogram]);
            let curve: Vec<f64> = (0..=100).map(|percent| merged.percentile(percent)).collect();
            prop_assert!(curve.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(curve[0] >= merged.min() as f64 && curve[100] <= merged.max() as f64);
        }
    }
}
