//! Keeps the generated code in `src/pb/` equal to `proto/`. Users of the crate
//! need no `protoc`; whoever changes a `.proto` file runs
//! `UMBRA_REGENERATE=1 cargo test -p umbra-record --test generated`.

use std::path::Path;

#[test]
fn generated_code_equals_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = ["umbra/v1/record.proto", "umbra/v1/job.proto"];
    let descriptors = protox::compile(files, [&root]).expect("proto files compile");
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("code is generated");
    let fresh = std::fs::read_to_string(out.path().join("umbra.v1.rs")).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pb/umbra.v1.rs");
    if std::env::var_os("UMBRA_REGENERATE").is_some() {
        std::fs::write(&kept, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(kept == fresh, "proto/ changed: run with UMBRA_REGENERATE=1 and commit the result");
}
