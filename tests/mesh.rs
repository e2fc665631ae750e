//! What deploy/mesh gives to Kubernetes is what Istio, the Gateway API and Kubernetes
//! take: validated against the schemas of their releases.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::httpbin::venv;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Every document with resources in it.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["istio", "gateway-api"] {
        for entry in std::fs::read_dir(repository("deploy/mesh").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            found.extend(path.extension().is_some_and(|kind| kind == "yaml").then_some(path));
        }
    }
    found.sort();
    found
}

/// Whether all of them are valid, and what is said of them.
fn validate(files: &[PathBuf]) -> (bool, String) {
    let crds = std::env::var_os("UMBRA_TEST_CRDS")
        .map_or_else(|| repository(".cache/crds"), PathBuf::from);
    let output = Command::new(venv().join("bin/python"))
        .arg(repository("tests/mesh/validate.py"))
        .arg(crds)
        .args(files)
        .output()
        .unwrap_or_else(|e| panic!("python: {e}: run scripts/test"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{error}\nrun scripts/test, which installs what is needed");
    (output.status.success(), said)
}

#[test]
fn resources_for_meshes_are_those_of_the_schemas() {
    let (valid, said) = validate(&documents());
    assert!(valid, "{said}");
    assert!(said.contains("6 resources, "), "{said}");
}

/// One thing wrong in each of them is found, so that what is valid means something.
#[test]
fn a_wrong_field_in_any_of_them_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for (file, right, wrong, place) in [
        ("istio/virtualservice.yaml", "percentage:", "percentages:", "spec.http.0.mirrors.0"),
        ("istio/virtualservice.yaml", "number: 8000", "number: eight", "destination.port.number"),
        (
            "istio/virtualservice.yaml",
            "h2UpgradePolicy: UPGRADE",
            "h2UpgradePolicy: YES",
            "h2UpgradePolicy",
        ),
        (
            "istio/sink.yaml",
            "terminationGracePeriodSeconds:",
            "terminationGrace:",
            "spec.template.spec",
        ),
        ("istio/sink.yaml", "port: 8000", "port: web", "spec.ports.0"),
        ("gateway-api/httproute.yaml", "requestMirror:", "mirror:", "spec.rules.0.filters.0"),
        ("gateway-api/httproute.yaml", "type: RequestMirror", "type: Mirror", "filters.0.type"),
        ("gateway-api/grant.yaml", "v1beta1", "v1beta9", "no release knows it"),
    ] {
        let text = std::fs::read_to_string(repository("deploy/mesh").join(file)).unwrap();
        assert!(text.contains(right), "{file}: {right}");
        let spoilt = dir.path().join("spoilt.yaml");
        std::fs::write(&spoilt, text.replacen(right, wrong, 1)).unwrap();
        let (valid, said) = validate(&[spoilt]);
        assert!(!valid && said.contains(place), "{file} with {wrong}: {said}");
    }
}
