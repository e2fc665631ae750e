//! Known values.

use super::*;

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= other.abs() * 1e-9 + 1e-300
}

#[test]
fn mcnemar_by_hand() {
    assert_eq!(mcnemar(0, 0), 1.0);
    assert_eq!(mcnemar(0, 9), 1.0);
    assert!(near(mcnemar(1, 0), 0.5));
    assert!(near(mcnemar(7, 0), 1.0 / 128.0));
    assert!(near(mcnemar(1, 1), 0.75));
    assert!(near(mcnemar(2, 1), 0.5));
    // (45 + 10 + 1) / 1024
    assert!(near(mcnemar(8, 2), 56.0 / 1024.0));
    assert!(near(mcnemar(2, 8), 1.0 - 11.0 / 1024.0));
    assert!(mcnemar(7, 0) <= 0.01 && mcnemar(6, 0) > 0.01);
}

#[test]
fn mcnemar_agrees_with_exact_sums() {
    // Pascal's triangle, as far as 64 bits of mantissa are enough.
    for n in 1..=50u64 {
        let mut row = vec![1.0f64];
        for _ in 0..n {
            row = (0..=row.len())
                .map(|k| row.get(k).unwrap_or(&0.0) + if k > 0 { row[k - 1] } else { 0.0 })
                .collect();
        }
        for b in 0..=n {
            let tail: f64 = row[b as usize..].iter().sum::<f64>() / 2f64.powi(n as i32);
            assert!((mcnemar(b, n - b) - tail).abs() < 1e-12, "{b} of {n}");
        }
    }
}

#[test]
fn large_counts_are_near_the_normal_distribution() {
    // P(Z >= 2) with the correction for continuity: b = n/2 + sqrt(n) + 1/2.
    let n = 1_000_000u64;
    let p = mcnemar(n / 2 + 1000, n / 2 - 1000);
    assert!((p - 0.0228).abs() < 0.0002, "{p}");
    assert!(mcnemar(600_000, 400_000) < 1e-300);
    assert!(mcnemar(u64::MAX / 4, 0) < 1e-300);
}

#[test]
fn benjamini_hochberg_by_hand() {
    let q = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.5]);
    let expected = [0.04, 0.04 * 4.0 / 3.0, 0.04 * 4.0 / 3.0, 0.5];
    assert!(q.iter().zip(expected).all(|(one, other)| near(*one, other)), "{q:?}");
    assert!(benjamini_hochberg(&[]).is_empty());
    assert_eq!(benjamini_hochberg(&[1.0, 1.0]), [1.0, 1.0]);
}

#[test]
fn enough_requests() {
    assert_eq!(enough(0.05, 0.95), 59);
    assert_eq!(enough(0.01, 0.95), 299);
}

#[test]
fn fisher_by_hand() {
    // Lady tasting tea: 4 of 4 against 0 of 4, and 3 of 4 against 1 of 4.
    assert!(near(fisher(4, 4, 0, 4), 1.0 / 70.0));
    assert!(near(fisher(3, 4, 1, 4), 17.0 / 70.0));
    assert_eq!(fisher(0, 10, 5, 10), 1.0);
    assert_eq!(fisher(0, 0, 0, 0), 1.0);
    // What was never seen among many is soon suspicious.
    assert!(fisher(3, 100, 0, 1000) < 0.001);
    assert!(fisher(3, 100, 30, 1000) > 0.5);
    assert!(fisher(100_000, 200_000, 0, 200_000) < 1e-300);
}

#[test]
fn fisher_agrees_with_exact_sums() {
    let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
    for (n, m, total) in [(10, 20, 7), (30, 5, 20), (3, 3, 6), (12, 12, 12), (1, 40, 3)] {
        let low = u64::saturating_sub(total, m);
        for b in low..=total.min(n) {
            let term = |k| choose(n, k) * choose(m, total - k) / choose(n + m, total);
            let exact: f64 = (b..=total.min(n)).map(term).sum();
            let found = fisher(b, n, total - b, m);
            assert!(
                (found - exact).abs() < 1e-9,
                "{b} of {n}, {} of {m}: {found} {exact}",
                total - b
            );
        }
    }
}
