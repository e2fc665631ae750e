use super::*;

#[test]
fn what_can_be_listened_on() {
    assert_eq!(Listen::parse("unix:/run/umbra.sock"), Ok(Listen::Unix("/run/umbra.sock".into())));
    assert_eq!(Listen::parse("fd:web"), Ok(Listen::Passed("web".into())));
    assert!(matches!(Listen::parse(":0"), Ok(Listen::Tcp(_))));
    for wrong in ["unix:", "fd:", "nonsense", ""] {
        assert!(Listen::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_socket_of_a_process_that_is_gone_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let first = bind_unix(&path).unwrap();
    assert!(bind_unix(&path).unwrap_err().contains("another process"));
    drop(first);
    assert!(path.exists(), "nobody removed it");
    let handed_on = HandedOn::default();
    let listener = bind_unix(&path).unwrap();
    let file = SocketFile::of(&path, &handed_on).unwrap();
    drop((listener, file));
    assert!(!path.exists());

    std::fs::write(&path, "something else").unwrap();
    assert!(bind_unix(&path).unwrap_err().contains("no socket"));
}

#[test]
fn a_file_stays_while_somebody_else_has_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _listener = bind_unix(&path).unwrap();
    let handed_on = HandedOn::default();
    let file = SocketFile::of(&path, &handed_on).unwrap();
    handed_on.set();
    drop(file);
    assert!(path.exists());
}
