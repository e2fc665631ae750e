//! The tests the verdict stands on.

#[cfg(test)]
mod tests;

/// One-sided exact McNemar test of paired flags: of `b + c` requests that differ on
/// one side only, how likely `b` or more are on the candidate's side if both sides
/// are equally noisy: P(X ≥ b), X ~ Bin(b + c, ½).
pub fn mcnemar(b: u64, c: u64) -> f64 {
    let n = b + c;
    if b == 0 {
        return 1.0;
    }
    // The smaller tail is summed; the larger is what it leaves.
    if b > n / 2 { upper_tail(b, n) } else { (1.0 - upper_tail(n - b + 1, n)).clamp(0.0, 1.0) }
}

/// One-sided exact test of Fisher for two samples: of `n` requests `b` differ, of `m`
/// earlier ones between good answers `c` did. How likely `b` or more of the `b + c` fall
/// among the `n` if both are equally noisy.
pub fn fisher(b: u64, n: u64, c: u64, m: u64) -> f64 {
    let (b, c) = (b.min(n), c.min(m));
    let total = b + c;
    if b <= total.saturating_sub(m) {
        return 1.0;
    }
    // As above: the tail is summed whose terms fall from the first on.
    if b as f64 * (n + m) as f64 > total as f64 * n as f64 {
        let next = |k: u64| {
            (n - k) as f64 * (total - k) as f64 / ((k + 1) as f64 * (m + k + 1 - total) as f64)
        };
        return tail(hypergeometric(b, n, total, m), (b..n.min(total)).map(next));
    }
    let k = b - 1;
    let lowest = total.saturating_sub(m);
    let before =
        |k: u64| k as f64 * (m + k - total) as f64 / ((n - k + 1) as f64 * (total - k + 1) as f64);
    let lower = tail(hypergeometric(k, n, total, m), (lowest + 1..=k).rev().map(before));
    (1.0 - lower).clamp(0.0, 1.0)
}

/// A first term and those that follow by these factors, as long as they count.
fn tail(first: f64, factors: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut term) = (first, first);
    for factor in factors {
        term *= factor;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum.min(1.0)
}

/// P(X = k), X the marked ones among `n` of `n + m`, `total` of which are marked.
fn hypergeometric(k: u64, n: u64, total: u64, m: u64) -> f64 {
    let ln_choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    (ln_choose(n, k) + ln_choose(m, total - k) - ln_choose(n + m, total)).exp()
}

/// P(X ≥ k), X ~ Bin(n, ½), for k above n/2: the terms fall from the first on.
fn upper_tail(k: u64, n: u64) -> f64 {
    if k > n {
        return 0.0;
    }
    let ln_choose = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let first = (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
    tail(first, (k..n).map(|k| (n - k) as f64 / (k + 1) as f64))
}

/// By sum where that is short, else by Stirling's series, whose error there is far
/// below that of the rest.
fn ln_factorial(n: u64) -> f64 {
    if n < 64 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let n = n as f64;
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI * n).ln() + series
}

/// Benjamini and Hochberg's adjusted p-values: reporting all with `q <= alpha` keeps
/// the expected share of false ones among those reported below `alpha`.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut q = vec![1.0; p.len()];
    let mut least = 1.0f64;
    for (rank, at) in order.into_iter().enumerate().rev() {
        least = least.min(p[at] * p.len() as f64 / (rank + 1) as f64);
        q[at] = least;
    }
    q
}

/// How many requests in a row must be equal before a difference in at least `share`
/// of them would have been seen with probability `confidence`.
pub(crate) fn enough(share: f64, confidence: f64) -> u64 {
    ((1.0 - confidence).ln() / (1.0 - share).ln()).ceil() as u64
}
