//! Keeps what is generated in `src/pb/` (code, and the schema that goes into embedded
//! logs) equal to `proto/`. Users of the crate
//! need no `protoc`; whoever changes a `.proto` file runs
//! `UMBRA_REGENERATE=1 cargo test -p umbra-record --test generated`.

use std::path::{Path, PathBuf};

use prost::Message;

const RECORD: &str = "umbra/v1/record.proto";
const JOB: &str = "umbra/v1/job.proto";
const KEYS: &str = "umbra/v1/keys.proto";

#[test]
fn generated_code_equals_proto() {
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .out_dir(out.path())
        .compile_fds(protox::compile([RECORD, JOB, KEYS], [proto()]).expect("proto files compile"))
        .expect("code is generated");
    let fresh = std::fs::read(out.path().join("umbra.v1.rs")).unwrap();
    keep_equal("umbra.v1.rs", &fresh);
}

#[test]
fn schema_equals_proto() {
    let mut descriptors = protox::compile([RECORD], [proto()]).expect("proto files compile");
    // Comments and places in the source are of no use to a reader of a log.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    keep_equal("record.fds", &descriptors.encode_to_vec());
    assert!(
        std::env::var_os("UMBRA_REGENERATE").is_some()
            || umbra_record::SCHEMA == descriptors.encode_to_vec()
    );
}

fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

fn keep_equal(name: &str, fresh: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pb").join(name);
    if std::env::var_os("UMBRA_REGENERATE").is_some() {
        std::fs::write(&path, fresh).expect("the generated file can be written");
    }
    let kept = std::fs::read(&path).unwrap_or_default();
    assert!(kept == fresh, "proto/ changed: run with UMBRA_REGENERATE=1 and commit {name}");
}
