//! The promises of a log, kept by the embedded one.

use umbra_log::{Address, conformance::Subject};

struct Embedded(tempfile::TempDir);

impl Subject for Embedded {
    fn address(&self, name: &str) -> Address {
        Address::File(self.0.path().join(name))
    }
}

umbra_log::conformance_suite!(Embedded(tempfile::tempdir().unwrap()));
