use std::path::Path;

use super::*;
use crate::TlsFiles;

/// A certificate for `name` and its key, both PEM.
fn pair(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        certificate: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        client_authorities: None,
    }
}

fn write(files: &TlsFiles, (certificate, key): &(String, String)) {
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
}

fn counts(watch: &Watch) -> (u64, u64) {
    let stats = watch.tls.stats();
    (stats.reloaded.load(Ordering::Relaxed), stats.failed.load(Ordering::Relaxed))
}

#[test]
fn a_pair_is_taken_when_both_of_it_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    write(&files, &pair("a.example"));
    let mut watch = Watch::new(ServerTls::load(files.clone()).unwrap());
    watch.look();
    assert_eq!(counts(&watch), (0, 0), "nothing has changed");

    let (certificate, key) = pair("b.example");
    std::fs::write(&files.certificate, certificate).unwrap();
    watch.look();
    assert_eq!(counts(&watch), (0, 0), "the key may be about to come");
    std::fs::write(&files.key, key).unwrap();
    watch.look();
    assert_eq!(counts(&watch), (1, 0));
    watch.look();
    assert_eq!(counts(&watch), (1, 0));
}

#[test]
fn what_cannot_be_used_is_told_once_and_the_old_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let good = pair("a.example");
    write(&files, &good);
    let mut watch = Watch::new(ServerTls::load(files.clone()).unwrap());
    let other = pair("b.example");
    let mut failed = 0;
    for bad in [
        ("garbage".to_owned(), good.1.clone()),
        (good.0.clone(), "garbage".to_owned()),
        (other.0.clone(), good.1.clone()),
        (String::new(), good.1),
    ] {
        write(&files, &bad);
        (0..4).for_each(|_| watch.look());
        failed += 1;
        assert_eq!(counts(&watch), (0, failed), "{bad:?}");
    }
    std::fs::remove_file(&files.key).unwrap();
    (0..4).for_each(|_| watch.look());
    assert_eq!(counts(&watch), (0, failed + 1), "absent");
    write(&files, &other);
    watch.look();
    assert_eq!(counts(&watch), (1, failed + 1));
}

#[test]
fn all_that_is_wrong_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = files(dir.path());
    files.client_authorities = Some(dir.path().join("ca.crt"));
    std::fs::write(&files.certificate, "garbage").unwrap();
    std::fs::write(dir.path().join("ca.crt"), "").unwrap();
    let problems = ServerTls::load(files.clone()).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");

    files.client_authorities = None;
    let (certificate, _) = pair("a.example");
    write(&files, &(certificate, pair("b.example").1));
    let problems = ServerTls::load(files.clone()).unwrap_err();
    assert!(problems[0].contains("is not the key of"), "{problems:?}");

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = params.self_signed(&key).unwrap();
    write(&files, &(expired.pem(), key.serialize_pem()));
    let problems = ServerTls::load(files).unwrap_err();
    assert!(problems[0].contains("expired"), "{problems:?}");
}
