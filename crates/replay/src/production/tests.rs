use super::*;

#[test]
fn the_same_place_is_found_under_its_other_names() {
    let hits =
        |target: &str, upstream: &str| Production::new(&target.parse().unwrap()).is_hit(upstream);
    assert!(hits("http://localhost:9001", "http://127.0.0.1:9001"));
    assert!(hits("http://api.example/v2", "http://API.example.:80/"));
    assert!(hits("https://api.example", "https://api.example:443"));
    assert!(!hits("http://localhost:9002", "http://127.0.0.1:9001"));
    assert!(!hits("http://localhost:9001", ""));
    assert!(!hits("http://localhost:9001", "no uri at all"));
    assert!(!hits("http://other.example", "http://api.example"));
}
