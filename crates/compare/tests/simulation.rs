//! Seeded simulations: how often a noisy field of an unchanged version is called
//! changed, and how often a fault in a noisy field is found; beside the rule of Diffy,
//! which compares two rates. Prints the numbers that the documentation quotes
//! (`cargo test -p umbra-compare --test simulation -- --nocapture`).
//!
//! The model: each good answer deviates on its own; the noise is how often two of them
//! differ. A fault makes the candidate's value another one in a share of the requests.

use umbra_compare::{Class, Difference, Judgement, Kind, RequestKey, Settings, Verdict};

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// A value that is usual, or one of its own.
    fn value(&mut self, deviates: f64) -> u64 {
        if self.happens(deviates) { self.next() | 1 } else { 0 }
    }
}

#[derive(Clone, Copy)]
struct Case {
    requests: u32,
    /// How often two good answers differ.
    noise: f64,
    /// How often the candidate is wrong.
    fault: f64,
}

/// Whether the candidate and the second good answer differ from the first.
fn flags(random: &mut Random, case: Case) -> (bool, bool) {
    let deviates = 1.0 - (1.0 - case.noise).sqrt();
    let (first, second) = (random.value(deviates), random.value(deviates));
    let mut candidate = random.value(deviates);
    if random.happens(case.fault) {
        candidate = random.next() | 1;
    }
    (candidate != first, second != first)
}

/// Shares of runs in which the field is called changed: by our verdict, by Diffy's rule.
fn called(case: Case, runs: u32) -> (f64, f64) {
    let (mut ours, mut diffys) = (0, 0);
    for run in 0..runs {
        let seed = u64::from(run) << 32 | u64::from(case.requests);
        let mut random = Random(seed ^ case.noise.to_bits() ^ case.fault.to_bits().rotate_left(7));
        let mut verdict = Verdict::new(Settings::default());
        let (mut raw, mut noise) = (0u32, 0u32);
        for id in 0..case.requests {
            let (candidate, second) = flags(&mut random, case);
            (raw, noise) = (raw + u32::from(candidate), noise + u32::from(second));
            count(&mut verdict, id, &[candidate], &[second]);
        }
        ours += u32::from(verdict.finish().findings.iter().any(|f| f.class == Class::Confirmed));
        diffys += u32::from(diffy(raw, noise, case.requests));
    }
    (f64::from(ours) / f64::from(runs), f64::from(diffys) / f64::from(runs))
}

/// A request with a flag per field.
fn count(verdict: &mut Verdict, id: u32, candidate: &[bool], second: &[bool]) {
    let list = |flags: &[bool]| -> Vec<Difference> {
        let raised = flags.iter().enumerate().filter(|(_, raised)| **raised);
        raised
            .map(|(field, _)| Difference::new(format!("body.f{field}"), Kind::Value, ""))
            .collect()
    };
    let id = id.to_be_bytes();
    let request = RequestKey { id: &id, method: "GET", path: "/x", again: false };
    assert!(verdict.compared(&request, &list(candidate), Some(&list(second))));
}

/// Diffy's rule with its default thresholds.
fn diffy(raw: u32, noise: u32, requests: u32) -> bool {
    let (raw, noise) = (f64::from(raw), f64::from(noise));
    raw > noise
        && (raw - noise) / (raw + noise) > 0.2
        && (raw - noise) / f64::from(requests) > 0.0003
}

#[test]
fn false_alarms_per_noisy_field_are_below_one_percent() {
    println!("false alarms     ours   Diffy");
    let (mut total, mut cases, mut worst_diffy) = (0.0, 0.0, 0f64);
    for requests in [10, 30, 100, 300, 1000] {
        for noise in [0.02, 0.05, 0.1, 0.3, 0.5] {
            let runs = 1000;
            let (ours, theirs) = called(Case { requests, noise, fault: 0.0 }, runs);
            println!(
                "N={requests:<5} {noise:>5.0}%  {:>5.1}%  {:>5.1}%",
                ours * 1e2,
                theirs * 1e2,
                noise = noise * 1e2
            );
            // 1 %, and three standard deviations of 1,000 runs.
            assert!(ours <= 0.01 + 0.0095, "{ours} at N={requests}, noise {noise}");
            (total, cases) = (total + ours, cases + 1.0);
            worst_diffy = worst_diffy.max(theirs);
        }
    }
    assert!(total / cases <= 0.01, "{}", total / cases);
    assert!(worst_diffy > 0.1, "the comparison is with a rule that has this fault: {worst_diffy}");
}

#[test]
fn faults_in_noisy_fields_are_found() {
    println!("found            ours   Diffy");
    for (noise, fault) in [(0.1, 0.05), (0.3, 0.1)] {
        let (ours, theirs) = called(Case { requests: 1000, noise, fault }, 1000);
        println!(
            "{:.0}% under {:.0}%  {:>5.1}%  {:>5.1}%",
            fault * 1e2,
            noise * 1e2,
            ours * 1e2,
            theirs * 1e2
        );
        assert!(ours >= 0.9, "{ours} for {fault} under {noise}");
        if noise == 0.3 {
            assert!(theirs <= 0.05, "{theirs}");
        }
    }
}

#[test]
fn one_fault_among_many_noisy_fields() {
    let (runs, fields) = (100u32, 20usize);
    let (mut found, mut wrong) = (0u32, 0u32);
    for run in 0..runs {
        let mut random = Random(u64::from(run) + 77);
        let mut verdict = Verdict::default();
        for id in 0..1000 {
            let mut all: Vec<(bool, bool)> = (0..fields)
                .map(|_| flags(&mut random, Case { requests: 1000, noise: 0.2, fault: 0.0 }))
                .collect();
            all[3] = flags(&mut random, Case { requests: 1000, noise: 0.2, fault: 0.12 });
            let (candidate, second): (Vec<bool>, Vec<bool>) = all.into_iter().unzip();
            count(&mut verdict, id, &candidate, &second);
        }
        for finding in verdict.finish().findings {
            if finding.class == Class::Confirmed {
                if finding.field == "body.f3" { found += 1 } else { wrong += 1 }
            }
        }
    }
    println!(
        "one fault among {fields} fields: found {found} %, false findings {wrong} in {runs} runs"
    );
    assert!(found >= 90, "{found}");
    // The expected share of false ones among the found is below 1 %.
    assert!(wrong <= 5, "{wrong}");
}

#[test]
fn an_unchanged_version_is_the_same() {
    let mut verdict = Verdict::default();
    let mut random = Random(5);
    for id in 0..1000 {
        let (candidate, second) =
            flags(&mut random, Case { requests: 1000, noise: 0.3, fault: 0.0 });
        count(&mut verdict, id, &[candidate], &[second]);
    }
    assert_eq!(verdict.finish().verdict, Judgement::Same);
}
