//! The budget is never exceeded and always given back.

use super::*;

#[test]
fn all_of_a_small_budget_can_be_used_and_comes_back() {
    let budget = Budget::new(1000, 2);
    let credit = Credit::new(Arc::clone(&budget), 0);
    let mut charge = credit.charge();
    for _ in 0..10 {
        assert!(charge.grow(100));
    }
    assert_eq!(budget.used(), 1000);
    assert!(!charge.grow(1), "the budget was exceeded");
    drop(charge);
    assert_eq!(budget.used(), 0);
    drop(credit);
    assert_eq!(budget.free.load(Relaxed), 1000);
}

#[test]
fn idle_credit_of_one_lane_leaves_most_of_the_budget_to_another() {
    let budget = Budget::new(16_000, 2);
    let (first, second) =
        (Credit::new(Arc::clone(&budget), 0), Credit::new(Arc::clone(&budget), 1));
    let mut held = first.charge();
    assert!(held.grow(8_000));
    drop(held);
    let mut charge = second.charge();
    assert!(charge.grow(14_000));
    assert_eq!(budget.used(), 14_000);
}

#[test]
fn a_detached_charge_is_given_back_on_another_thread() {
    let budget = Budget::new(1 << 20, 1);
    let credit = Credit::new(Arc::clone(&budget), 0);
    let mut charge = credit.charge();
    assert!(charge.grow(500_000));
    let detached = charge.detach();
    assert_eq!(budget.used(), 500_000);
    std::thread::spawn(move || drop(detached)).join().unwrap();
    assert_eq!(budget.used(), 0);
}
