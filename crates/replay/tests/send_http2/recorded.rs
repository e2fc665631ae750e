//! The version a request was recorded with, and the TLS that a target's settings ask for.

use std::path::PathBuf;

use tokio_rustls::rustls::server::WebPkiClientVerifier;
use umbra_replay::Tls;

use super::*;

/// Recorded as HTTP/2, with and without a body.
fn over_http2() -> [Outgoing; 2] {
    [get("/a"), post("/b", noise(700_000))].map(|mut outgoing| {
        Arc::make_mut(&mut outgoing.request).version = pb::Version::Http2.into();
        outgoing
    })
}

fn recorded(url: &str) -> Target {
    Target { protocol: Protocol::Recorded, ..target(url) }
}

fn version(outcome: &umbra_replay::Outcome) -> pb::Version {
    assert_eq!(outcome.class, Class::Answered, "{}", outcome.detail);
    outcome.answer.as_ref().unwrap().version
}

#[tokio::test]
async fn a_request_goes_with_the_version_it_was_recorded_with() {
    let two = Http2Shadow::start(usize::MAX).await;
    let one = Shadow::start(|peer| answer_all(peer, OK)).await;
    let sender = Sender::new(&recorded(&format!("http://{}", two.address)), "job").unwrap();
    assert!(sender.probe().await);
    for outgoing in over_http2() {
        let outcome = sender.send(outgoing).await;
        assert_eq!((version(&outcome), outcome.downgraded), (pb::Version::Http2, false));
    }
    // Of a connection that had spoken HTTP/1 to production, to the same target.
    let outcome = sender.send(get("/")).await;
    assert_eq!(outcome.class, Class::Garbled, "{}", outcome.detail);
    assert!(outcome.detail.contains("--http2"), "{}", outcome.detail);

    // Who speaks no HTTP/2 never sees a request that is not HTTP/1.1.
    let sender = Sender::new(&recorded(&format!("http://{}", one.address)), "job").unwrap();
    for outgoing in over_http2() {
        let outcome = sender.send(outgoing).await;
        assert_eq!((version(&outcome), outcome.downgraded), (pb::Version::Http11, true));
    }
    let mut old = get("/old");
    Arc::make_mut(&mut old.request).version = pb::Version::Http10.into();
    let outcome = sender.send(old).await;
    assert_eq!((version(&outcome), outcome.downgraded), (pb::Version::Http11, false));
}

#[tokio::test]
async fn a_target_that_is_not_there_or_silent_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = Target { connect_timeout: Duration::from_millis(300), ..recorded(&url) };
    let sender = Sender::new(&target, "job").unwrap();
    let outcome = sender.send(over_http2()[0].clone()).await;
    assert_eq!((outcome.class, outcome.written), (Class::Timeout, false));
    drop(listener);
    let outcome = sender.send(over_http2()[0].clone()).await;
    assert_eq!((outcome.class, outcome.written), (Class::Refused, false));
}

/// Certificates of an authority of our own, in files.
struct Authority {
    directory: tempfile::TempDir,
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs one and keeps it in `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    /// A server of this name that demands a certificate of ours.
    fn server(&self, name: &str, offers: &[&[u8]]) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(name);
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        server.alpn_protocols = offers.iter().map(|name| name.to_vec()).collect();
        Arc::new(server)
    }

    /// A client that trusts us and shows our certificate.
    fn client(&self, server_name: &str) -> Tls {
        self.issue("client");
        Tls {
            ca: Some(self.file("ca.pem")),
            certificate: Some((self.file("client.pem"), self.file("client.key"))),
            server_name: Some(server_name.to_owned()),
            insecure: false,
        }
    }
}

#[tokio::test]
async fn tls_of_a_target_is_what_its_settings_say() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = authority.server("shadow.internal", &[b"h2", b"http/1.1"]);
    let (names, _task) = tls_shadow(listener, server);
    let tls = authority.client("shadow.internal");
    tls.check().unwrap();
    let with = |tls: Tls| Sender::new(&Target { tls, ..recorded(&url) }, "job").unwrap();
    let sender = with(tls.clone());
    let [one, two] = [get("/"), over_http2()[0].clone()];
    assert_eq!(version(&sender.send(one).await), pb::Version::Http11);
    assert_eq!(version(&sender.send(two.clone()).await), pb::Version::Http2);
    let seen: Vec<String> = std::mem::take(&mut *names.lock().unwrap());
    assert!(seen.iter().all(|one| one.ends_with(" shadow.internal")), "{seen:?}");
    assert!(seen[0].starts_with("http/1.1 ") && seen.last().unwrap().starts_with("h2 "));

    let fails = async |what: &str, tls: Tls| {
        let outcome = with(tls).send(get("/")).await;
        assert!(!outcome.written || outcome.answer.is_none(), "{what}");
        assert_ne!(outcome.class, Class::Answered, "{what}");
        outcome.class
    };
    let class = fails("another name", Tls { server_name: None, ..tls.clone() }).await;
    assert_eq!(class, Class::Tls);
    let stranger = Some(Authority::new());
    let ca = stranger.as_ref().map(|stranger| stranger.file("ca.pem"));
    assert_eq!(fails("another authority", Tls { ca, ..tls.clone() }).await, Class::Tls);
    // With TLS 1.3 a client learns only after the handshake that it is not welcome.
    fails("no certificate", Tls { certificate: None, ..tls.clone() }).await;
    let anybody = Some("somebody.else".to_owned());
    let careless = Tls { ca: None, server_name: anybody, insecure: true, ..tls };
    assert_eq!(version(&with(careless).send(two).await), pb::Version::Http2);
}

#[tokio::test]
async fn a_server_that_offers_no_http2_gets_http1() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (_, _task) = tls_shadow(listener, authority.server("old.internal", &[b"http/1.1"]));
    let tls = authority.client("old.internal");
    let target = Target { tls, ..recorded(&url) };
    let sender = Sender::new(&target, "job").unwrap();
    for outgoing in over_http2() {
        let outcome = sender.send(outgoing).await;
        assert_eq!((version(&outcome), outcome.downgraded), (pb::Version::Http11, true));
    }
    // Told to speak nothing else, it does not.
    let strict = Target { protocol: Protocol::Http2, ..target };
    let outcome = Sender::new(&strict, "job").unwrap().send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Tls, false));
}

#[tokio::test]
async fn a_server_that_offers_http2_alone_is_said_so() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (_, _task) = tls_shadow(listener, authority.server("new.internal", &[b"h2"]));
    let target = Target { tls: authority.client("new.internal"), ..recorded(&url) };
    let outcome = Sender::new(&target, "job").unwrap().send(get("/")).await;
    assert_eq!((outcome.class, outcome.written), (Class::Tls, false), "{}", outcome.detail);
    assert!(outcome.detail.contains("--http2"), "{}", outcome.detail);
}

#[test]
fn what_is_wrong_with_files_of_tls_is_said_without_their_contents() {
    let authority = Authority::new();
    let good = authority.client("a");
    std::fs::write(authority.file("empty.pem"), "nothing").unwrap();
    authority.issue("other");
    let pair = |chain: &str, key: &str| Some((authority.file(chain), authority.file(key)));
    for (tls, words) in [
        (Tls { ca: Some(authority.file("none.pem")), ..good.clone() }, "none.pem"),
        (Tls { ca: Some(authority.file("empty.pem")), ..good.clone() }, "no certificate"),
        (Tls { certificate: pair("client.pem", "empty.pem"), ..good.clone() }, "no private key"),
        (Tls { certificate: pair("client.pem", "other.key"), ..good.clone() }, "other.key"),
        (Tls { server_name: Some("a b".to_owned()), ..good }, "a b"),
    ] {
        let told = tls.check().unwrap_err();
        assert!(told.contains(words) && !told.contains("BEGIN"), "{words}: {told}");
    }
}
