//! Which crate may know which: the arrows of the architecture, read from the
//! manifests, development dependencies included.

use std::{collections::BTreeSet, path::Path};

/// Crate, and those of ours it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("log", &[]),
    ("compare", &["record"]),
    ("capture", &["record", "log"]),
    ("replay", &["record", "log", "compare"]),
    ("umbra", &["record", "log", "compare", "capture", "replay"]),
];

#[test]
fn crates_know_only_those_they_may() {
    for (name, allowed) in ARROWS {
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        let known = known_to(name);
        let extra: Vec<_> = known.difference(&allowed).collect();
        assert!(extra.is_empty(), "crates/{name} must not depend on {extra:?}");
    }
}

#[test]
fn the_list_is_complete() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found: BTreeSet<String> = std::fs::read_dir(crates)
        .expect("crates/ can be read")
        .map(|entry| entry.expect("an entry can be read"))
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let listed = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed, "a new crate needs its arrows here and in ARCHITECTURE.md");
    // The reader of manifests sees what is there.
    assert!(known_to("replay").contains("record"));
}

/// Our crates that a manifest names as dependencies of any sort.
fn known_to(name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).expect("a manifest can be read");
    let mut section = String::new();
    let mut known = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let header =
            section.contains("dependencies") && line.starts_with("[") && line.contains('.');
        if let Some(at) = line.find("umbra-") {
            let is_dependency = section.contains("dependencies") && (at == 0 || header);
            let renamed = section.contains("dependencies") && line.contains("package");
            if is_dependency || renamed {
                let rest = &line[at + "umbra-".len()..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                known.insert(rest[..end].to_owned());
            }
        }
    }
    known
}
