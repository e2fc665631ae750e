//! Templates, folding, bounds.

use super::*;
use crate::endpoint::tree::Count;

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
struct Sum(u64);

impl Count for Sum {
    fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    fn weight(&self) -> u64 {
        self.0
    }
}

/// The tally of a request.
fn of<'a>(tree: &'a mut Tree<Sum>, method: &str, path: &str) -> &'a mut Sum {
    let template = tree.template(method, path);
    tree.of(method, &template).0
}

#[test]
fn templates() {
    for (path, template) in [
        ("/", "/"),
        ("/users", "/users"),
        ("/users/17/orders", "/users/{id}/orders"),
        ("/users/550e8400-e29b-41d4-a716-446655440000", "/users/{uuid}"),
        ("/day/2026-11-22", "/day/{date}"),
        ("/commit/0a1b2c3d", "/commit/{hash}"),
        ("/t/eyJh4bGc1iOiJ9IUz8I1", "/t/{hash}"),
        ("/v1/users", "/v1/users"),
        ("/facade", "/facade"),
        ("/deadbeef", "/deadbeef"),
        ("/oauth2-callback-v2", "/oauth2-callback-v2"),
        ("/a//b/", "/a//b/"),
        ("*", "/*"),
    ] {
        assert_eq!(lexical_template(path), template, "{path}");
    }
    let long = "/x".repeat(100);
    assert!(lexical_template(&long).ends_with("/x/{rest}"));
}

fn sum(tree: &Tree<Sum>) -> u64 {
    tree.endpoints().iter().map(|(_, sum)| sum.0).sum()
}

#[test]
fn a_place_with_too_many_words_is_folded() {
    let mut tree: Tree<Sum> = Tree::default();
    for at in 0..1000 {
        of(&mut tree, "GET", &format!("/user/name{at}x/orders")).0 += 1;
        of(&mut tree, "GET", "/health").0 += 1;
    }
    let names: Vec<(String, u64)> =
        tree.endpoints().into_iter().map(|(name, sum)| (name, sum.0)).collect();
    let expected = [("GET /health", 1000), ("GET /user/{any}/orders", 1000)];
    assert_eq!(names, expected.map(|(name, sum)| (name.to_owned(), sum)));
}

#[test]
fn an_enemy_cannot_make_it_grow() {
    let mut tree: Tree<Sum> = Tree::default();
    for at in 0..12_000u64 {
        let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = |shift: u32| format!("w{}z", (mixed >> shift) % 150);
        of(&mut tree, "GET", &format!("/{}/{}/{}", word(1), word(20), word(40))).0 += 1;
    }
    assert_eq!(sum(&tree), 12_000);
    assert!(tree.endpoints().len() <= 2_001, "{}", tree.endpoints().len());
    assert_eq!(tree.endpoints().last().unwrap().0, "(other endpoints)");
}

#[test]
fn order_and_parts_make_no_difference() {
    let paths: Vec<String> = (0..500u64)
        .map(|at| match at % 3 {
            0 => format!("/user/name{at}x/orders"),
            1 => format!("/user/{at}/orders"),
            _ => format!("/shop/part{}y", at % 50),
        })
        .collect();
    let tree = |paths: &mut dyn Iterator<Item = &String>| {
        let mut tree: Tree<Sum> = Tree::default();
        paths.for_each(|path| of(&mut tree, "GET", path).0 += 1);
        tree
    };
    let shown = |tree: &Tree<Sum>| serde_json::to_value(tree.endpoints()).unwrap();
    let forward = tree(&mut paths.iter());
    assert_eq!(shown(&forward), shown(&tree(&mut paths.iter().rev())));
    for (one, other) in [(250, 250), (10, 490), (499, 1)] {
        let mut merged = tree(&mut paths.iter().take(one));
        merged.merge(tree(&mut paths.iter().rev().take(other)));
        assert_eq!(shown(&forward), shown(&merged), "{one} + {other}");
    }
}
