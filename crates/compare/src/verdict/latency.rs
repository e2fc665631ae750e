//! How long answers take, pair by pair: the difference within each pair, because
//! requests differ more from each other than versions do.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tally::Sign;

/// Bins for each doubling: a value is known to about 5 %.
const BINS: f64 = 8.0;
/// A pair says "slower" if the difference is more than this share of the faster time …
const SHARE: f64 = 0.1;
/// … and than this.
const LEAST_NS: f64 = 1e6;

/// Times of the pairs of one endpoint. Of a fixed size, and sums of parts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Latencies {
    pub(super) pairs: u64,
    /// Pairs in which the candidate is clearly slower, and clearly faster.
    pub(super) slower: u64,
    pub(super) faster: u64,
    expected: Histogram,
    actual: Histogram,
    difference: Histogram,
}

/// The shares at which [`Latency`] tells the times.
pub const QUANTILES: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

/// What is told of the times of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many pairs were timed.
    pub pairs: u64,
    /// Whether both answers were given under the same load. If not, the difference says
    /// as much about the two places as about the two versions.
    pub same_load: bool,
    /// Median of the baseline, in milliseconds.
    pub expected_p50_ms: f64,
    /// 99th percentile of the baseline.
    pub expected_p99_ms: f64,
    /// Median of the candidate.
    pub actual_p50_ms: f64,
    /// 99th percentile of the candidate.
    pub actual_p99_ms: f64,
    /// Median of the differences within pairs; above 0: the candidate is slower.
    pub difference_ms: f64,
    /// 95 % confidence interval of that median.
    pub difference_low_ms: f64,
    /// See `difference_low_ms`.
    pub difference_high_ms: f64,
    /// Times of the baseline at the shares of [`QUANTILES`].
    #[serde(default)]
    pub expected_ms: [f64; QUANTILES.len()],
    /// Times of the candidate.
    #[serde(default)]
    pub actual_ms: [f64; QUANTILES.len()],
}

impl Latencies {
    pub(super) fn count(&mut self, expected_ns: u64, actual_ns: u64, sign: Sign) {
        let (expected, actual) = (expected_ns as f64, actual_ns as f64);
        let margin = (expected.min(actual) * SHARE).max(LEAST_NS);
        sign.step(&mut self.pairs);
        if actual > expected + margin {
            sign.step(&mut self.slower);
        }
        if expected > actual + margin {
            sign.step(&mut self.faster);
        }
        self.expected.count(expected, sign);
        self.actual.count(actual, sign);
        self.difference.count(actual - expected, sign);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.slower += other.slower;
        self.faster += other.faster;
        self.expected.merge(other.expected);
        self.actual.merge(other.actual);
        self.difference.merge(other.difference);
    }

    /// `None` without a pair.
    pub(super) fn summary(&self, same_load: bool) -> Option<Latency> {
        let n = self.pairs as f64;
        // Ranks around the median that hold it with 95 % (normal approximation of the
        // binomial distribution, exact enough from ten pairs on, wide below).
        let half = 1.96 * n.sqrt() / 2.0;
        let rank = |rank: f64| self.difference.at_rank(rank.clamp(1.0, n));
        (self.pairs > 0).then(|| Latency {
            pairs: self.pairs,
            same_load,
            expected_p50_ms: self.expected.quantile(0.5),
            expected_p99_ms: self.expected.quantile(0.99),
            actual_p50_ms: self.actual.quantile(0.5),
            actual_p99_ms: self.actual.quantile(0.99),
            difference_ms: self.difference.quantile(0.5),
            difference_low_ms: rank((n / 2.0 - half).floor()),
            difference_high_ms: rank((n / 2.0 + half).ceil() + 1.0),
            expected_ms: QUANTILES.map(|share| self.expected.quantile(share)),
            actual_ms: QUANTILES.map(|share| self.actual.quantile(share)),
        })
    }
}

/// Counts by logarithmic bins, of both signs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Histogram {
    bins: BTreeMap<i16, u64>,
}

impl Histogram {
    fn count(&mut self, ns: f64, sign: Sign) {
        let bin = bin(ns);
        let count = self.bins.entry(bin).or_default();
        sign.step(count);
        if *count == 0 {
            self.bins.remove(&bin);
        }
    }

    fn merge(&mut self, other: Self) {
        for (bin, count) in other.bins {
            *self.bins.entry(bin).or_default() += count;
        }
    }

    fn quantile(&self, share: f64) -> f64 {
        let n: u64 = self.bins.values().sum();
        self.at_rank((share * n as f64).ceil().max(1.0))
    }

    /// The value of this rank, from 1, in milliseconds.
    fn at_rank(&self, rank: f64) -> f64 {
        let mut passed = 0;
        for (bin, count) in &self.bins {
            passed += count;
            if passed as f64 >= rank {
                return middle(*bin) / 1e6;
            }
        }
        0.0
    }
}

/// 0 below a microsecond; then so many bins for each doubling.
fn bin(ns: f64) -> i16 {
    let microseconds = ns.abs() / 1e3;
    if microseconds < 1.0 {
        return 0;
    }
    // 64 bits of nanoseconds are below 2⁵⁵ µs, hence 441 bins.
    let bin = 1 + (microseconds.log2() * BINS) as i16;
    if ns < 0.0 { -bin } else { bin }
}

fn middle(bin: i16) -> f64 {
    if bin == 0 {
        return 0.0;
    }
    let ns = 1e3 * ((f64::from(bin.abs()) - 0.5) / BINS).exp2();
    if bin < 0 { -ns } else { ns }
}
