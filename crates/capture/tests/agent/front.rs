//! How clients and upstreams are reached: TLS on both sides and its renewal under load,
//! the PROXY protocol, Unix sockets, the table of upstreams, CONNECT.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use umbra_capture::{
    ClientTls, Route, ServerTls, TlsFiles, Transport, Trust, Upstream, UpstreamHttp,
};
use umbra_record::pb::Failure;

use super::harness::{Agent, Client, PATIENCE, Server, TestLog, until};

/// Certificates in a directory of their own.
struct Certificates {
    dir: tempfile::TempDir,
}

/// An authority.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for localhost and its key, both PEM.
    fn sign(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = rcgen::CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

impl Certificates {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
    }

    fn load(&self, clients: Option<&Authority>) -> ServerTls {
        let client_authorities = clients.map(|authority| {
            std::fs::write(self.path("ca.crt"), &authority.pem).unwrap();
            self.path("ca.crt")
        });
        let (certificate, key) = (self.path("tls.crt"), self.path("tls.key"));
        ServerTls::load(TlsFiles { certificate, key, client_authorities }).unwrap()
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn client_config(
    trusted: &[&Authority],
    alpn: &[&[u8]],
    own: Option<(String, String)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn connect_tls(to: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// One request; the status of its answer.
fn get(stream: &mut Tls, path: &str) -> std::io::Result<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length])?;
    Ok(head[9..12].parse().unwrap())
}

#[test]
fn certificates_are_renewed_under_load_without_a_failed_request() {
    let (upstream, files) = (Server::echo(), Certificates::new());
    let authorities = [Authority::new(), Authority::new()];
    files.write(&authorities[0].sign());
    let tls = files.load(None);
    let agent = Agent::start(upstream.address, |config| config.tls = Some(tls.clone()));
    // Whoever trusts both sees no difference; who trusts the new one only sees it come.
    let both = client_config(&[&authorities[0], &authorities[1]], &[b"http/1.1"], None);
    let new = client_config(&[&authorities[1]], &[b"http/1.1"], None);
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut kept = connect_tls(agent.address, &both);
    assert_eq!(get(&mut kept, "/kept/0").unwrap(), 200);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (over, done, both, address) = (&over, &done, &both, agent.address);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut stream = connect_tls(address, both);
                    for _ in 0..3 {
                        let status = get(&mut stream, &format!("/load/{thread}"));
                        assert_eq!(status.expect("a request failed"), 200);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Ends the load whatever happens.
        let renewed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let reloaded = || agent.stats.snapshot().tls.unwrap();
            until("there is load", || done.load(Ordering::Relaxed) > 20);
            assert!(get(&mut connect_tls(agent.address, &new), "/early").is_err());
            std::fs::write(files.path("tls.key"), "garbage").unwrap();
            until("garbage is told", || reloaded().failed == 1);
            files.write(&authorities[1].sign());
            until("the new one is taken", || reloaded().reloaded == 1);
            assert_eq!(get(&mut connect_tls(agent.address, &new), "/new").unwrap(), 200);
            let now = done.load(Ordering::Relaxed);
            until("the load goes on", || done.load(Ordering::Relaxed) > now + 20);
        }));
        over.store(true, Ordering::Relaxed);
        renewed.unwrap();
    });
    assert_eq!(get(&mut kept, "/kept/1").unwrap(), 200, "an open connection is left alone");
    drop(kept);
    let done = done.into_inner() + 3;
    let ended = agent.end();
    assert_eq!(ended.requests().len() as u64, done);
    let request = ended.request("/new");
    assert_eq!(
        (&*request.scheme, &*request.tls_server_name, &*request.alpn),
        ("https", "localhost", "http/1.1")
    );
    assert!(upstream.heads().iter().all(|head| head.contains("X-Forwarded-Proto: https")));
}

#[test]
fn the_last_answer_on_a_connection_ends_with_the_session() {
    let (upstream, files, authority) = (Server::echo(), Certificates::new(), Authority::new());
    files.write(&authority.sign());
    let tls = files.load(None);
    let agent = Agent::start(upstream.address, |config| config.tls = Some(tls));
    let config = client_config(&[&authority], &[b"http/1.1"], None);
    for request in
        ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        let mut stream = connect_tls(agent.address, &config);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // An end without close_notify is an error here: it could be anybody's.
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.ends_with(b"/ 0"), "{}", String::from_utf8_lossy(&answer));
    }
    agent.end();
}

#[test]
fn clients_must_have_a_certificate_if_an_authority_for_them_is_given() {
    let (upstream, files) = (Server::echo(), Certificates::new());
    let (servers, clients) = (Authority::new(), Authority::new());
    files.write(&servers.sign());
    let tls = files.load(Some(&clients));
    let agent = Agent::start(upstream.address, |config| {
        config.tls = Some(tls.clone());
        config.header_timeout = Duration::from_millis(400);
    });
    let with = |own| connect_tls(agent.address, &client_config(&[&servers], &[], own));
    assert_eq!(get(&mut with(Some(clients.sign())), "/known").unwrap(), 200);
    assert!(get(&mut with(None), "/none").is_err());
    assert!(get(&mut with(Some(servers.sign())), "/other").is_err());
    let strange = client_config(&[&servers], &[b"spdy/3"], Some(clients.sign()));
    assert!(get(&mut connect_tls(agent.address, &strange), "/alpn").is_err());
    let distrusting = client_config(&[&clients], &[], Some(clients.sign()));
    assert!(get(&mut connect_tls(agent.address, &distrusting), "/trust").is_err());
    // In the clear, broken off, and silent within the handshake.
    let mut plain = agent.connect();
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.try_answer(false).is_err());
    let mut half = agent.connect();
    half.send(b"\x16\x03\x01");
    assert!(half.is_closed());
    let mut gone = agent.connect();
    gone.send(b"\x16\x03\x01\x00");
    drop(gone);
    // As a balancer's check does.
    drop(agent.connect());
    let refused = || agent.stats.snapshot().refused;
    let expected = [
        ("tls_client_certificate", 2),
        ("tls_alpn", 1),
        ("tls_refused", 1),
        ("tls_missing", 1),
        ("tls_timeout", 1),
        ("tls_ended", 1),
    ];
    let expected = expected.map(|(reason, n)| (reason.to_owned(), n)).into();
    until("all are counted", || refused().values().sum::<u64>() >= 7);
    assert_eq!(refused(), expected);
    assert_eq!(agent.end().requests().len(), 1);
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.proxy_protocol = true;
        config.header_timeout = Duration::from_millis(400);
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40007 80\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    v2.extend("2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    v2.extend([0; 16]);
    v2.extend([0x9c, 0x48, 0, 80]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec();
    for (header, path) in [(&v1, "/v1"), (&v2, "/v2"), (&local, "/local")] {
        let mut client = agent.connect();
        client.send([header.clone(), get(path)].concat());
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.get(&format!("{path}/again")).status, 200);
    }
    // Byte by byte, each in a segment of its own.
    let mut client = agent.connect();
    for byte in [v2.clone(), get("/slowly")].concat() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
    for (bytes, reason) in [
        (get("/bare"), "proxy_missing"),
        (b"PROXY TCP4 nonsense\r\n".to_vec(), "proxy_malformed"),
        (v1[..20].to_vec(), "proxy_timeout"),
    ] {
        let mut client = agent.connect();
        client.send(&bytes);
        assert!(client.is_closed());
        until(reason, || agent.stats.snapshot().refused.get(reason) == Some(&1));
    }
    let ended = agent.end();
    let peer = |path: &str| ended.request(path).peer.clone();
    assert_eq!(peer("/v1"), "192.0.2.7:40007");
    assert_eq!(peer("/v1/again"), "192.0.2.7:40007");
    assert_eq!(peer("/v2"), "[2001:db8::7]:40008");
    assert_eq!(peer("/slowly"), "[2001:db8::7]:40008");
    assert!(peer("/local").starts_with("127.0.0.1:"));
    let forwarded = |client: &str| {
        let line = format!("X-Forwarded-For: {client}\r\n");
        upstream.heads().iter().filter(|head| head.contains(&line)).count()
    };
    assert_eq!(
        (forwarded("192.0.2.7"), forwarded("2001:db8::7"), forwarded("127.0.0.1")),
        (2, 3, 2)
    );
}

/// An agent on a Unix socket.
fn unix_agent(
    path: &Path,
    upstream: SocketAddr,
    change: impl FnOnce(&mut umbra_capture::Config),
) -> Agent {
    let log = TestLog::new();
    let appender = Arc::clone(&log.appender);
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let listener = UnixListener::bind(path).unwrap().into();
    Agent::start_at(upstream, (nowhere, listener), log, appender, change)
}

#[test]
fn unix_sockets_on_both_sides() {
    let (upstream, dir) = (Server::echo(), tempfile::tempdir().unwrap());
    // One agent listens there, another one finds its upstream there.
    let path = dir.path().join("agent.sock");
    let inner = unix_agent(&path, upstream.address, |_| {});
    let outer = Agent::start(upstream.address, |config| {
        config.upstream = Upstream {
            url: format!("unix:{}", path.display()),
            transport: Transport::Unix(path.clone()),
            ..Upstream::tcp("localhost", 80)
        };
    });
    assert_eq!(outer.connect().get("/through").status, 200);
    // A request without Host gets one that means the socket.
    let mut client = outer.connect();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let mut direct = UnixStream::connect(&path).unwrap();
    direct.write_all(b"GET /direct HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    direct.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let outer = outer.end();
    assert_eq!(outer.request("/through").upstream, format!("unix:{}", path.display()));
    let inner = inner.end();
    assert_eq!((&*inner.request("/direct").peer, inner.requests().len()), ("", 3));
    let direct = upstream.heads().into_iter().find(|head| head.contains("/direct")).unwrap();
    assert!(!direct.contains("X-Forwarded-For"), "{direct}");
    assert!(upstream.heads().iter().any(|head| head.contains("Host: localhost\r\n")));

    std::fs::remove_file(&path).unwrap();
    let agent = Agent::start(upstream.address, |config| {
        config.upstream.transport = Transport::Unix(path);
    });
    assert_eq!(agent.connect().get("/nobody").status, 502);
    assert_eq!(agent.end().response_to("/nobody").failure(), Failure::Refused);
}

#[test]
fn upstreams_are_reached_over_tls_and_must_prove_who_they_are() {
    let (upstream, files) = (Server::echo(), Certificates::new());
    let (trusted, other) = (Authority::new(), Authority::new());
    files.write(&trusted.sign());
    let tls = files.load(None);
    let inner = Agent::start(upstream.address, |config| config.tls = Some(tls.clone()));
    let to = |authority: &Authority, host: &str| {
        let trust = Trust::in_authorities(authority.pem.as_bytes()).unwrap();
        let tls = ClientTls::new(trust, host).unwrap();
        let port = inner.address.port();
        Upstream {
            url: format!("https://{host}:{port}"),
            transport: Transport::Tls(tls),
            http: UpstreamHttp::Http1,
            ..Upstream::tcp("127.0.0.1", port)
        }
    };
    let outer =
        |upstream: Upstream| Agent::start(inner.address, |config| config.upstream = upstream);
    let agent = outer(to(&trusted, "localhost"));
    let mut client = agent.connect();
    for path in ["/a", "/b"] {
        assert_eq!(client.get(path).status, 200);
    }
    let body = super::harness::noise(1 << 20);
    client.send(format!("POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.answer().body, format!("/c {}", body.len()).into_bytes());
    agent.end();
    for (upstream, path) in
        [(to(&other, "localhost"), "/signer"), (to(&trusted, "example.org"), "/name")]
    {
        let agent = outer(upstream);
        assert_eq!(agent.connect().get(path).status, 502);
        let ended = agent.end();
        assert_eq!(ended.response_to(path).failure(), Failure::Tls);
    }
    let inner = inner.end();
    assert_eq!(inner.requests().len(), 3);
    let request = inner.request("/a");
    assert_eq!((&*request.tls_server_name, &*request.alpn), ("localhost", "http/1.1"));
    assert_eq!(inner.request("/b").connection, request.connection, "it is kept and used again");
}

#[test]
fn the_table_of_upstreams_decides_and_the_record_says_which() {
    let [first, second, rest] = [Server::echo(), Server::echo(), Server::echo()];
    let upstream = |server: &Server| Upstream::tcp("127.0.0.1", server.address.port());
    let agent = Agent::start(rest.address, |config| {
        let route = |host: Option<&str>, path: Option<&str>, server| Route {
            host: host.map(str::to_owned),
            path: path.map(str::to_owned),
            upstream: upstream(server),
        };
        config.routes = vec![
            route(Some("*.example.com"), Some("/api"), &first),
            route(None, Some("/static"), &second),
        ];
    });
    let mut client = agent.connect();
    for (host, path) in [
        ("a.example.com", "/api/1"),
        ("a.example.com:8080", "/api"),
        ("a.example.com", "/static/1"),
        ("example.org", "/api/2"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    }
    let ended = agent.end();
    for (path, server) in
        [("/api/1", &first), ("/api", &first), ("/static/1", &second), ("/api/2", &rest)]
    {
        assert_eq!(ended.request(path).upstream, upstream(server).url, "{path}");
    }
    assert_eq!([&first, &second, &rest].map(|server| server.heads().len()), [2, 1, 1]);
}

/// Answers CONNECT, then sends back what it gets.
fn tunnel_end() -> Server {
    Server::start(|client, server| {
        while let Some(head) = client.request_head(server) {
            if head.starts_with("CONNECT refused") {
                client.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
                continue;
            }
            client.send("HTTP/1.1 200 Connected\r\n\r\nhello");
            let heard = client.read_exactly(5);
            client.send(heard);
            return;
        }
    })
}

#[test]
fn connect_is_passed_on_if_switched_on() {
    let upstream = tunnel_end();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 405);
    agent.end();
    assert_eq!(upstream.heads().len(), 0);

    let agent = Agent::start(upstream.address, |config| config.connect = true);
    let mut client: Client = agent.connect();
    client.send("CONNECT refused:443 HTTP/1.1\r\nHost: refused:443\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, &answer.body[..]), (403, &b"no"[..]));
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nearly");
    let answer = client.try_answer(true).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(client.read_exactly(10), b"helloearly");
    assert!(client.is_closed());
    let ended = agent.end();
    let tunnels: Vec<_> = ended.requests().iter().map(|request| request.tunnel).collect();
    assert_eq!(tunnels, [false, true]);
    let authority = |at: usize| ended.requests()[at].authority.clone();
    assert_eq!((&authority(0)[..], &authority(1)[..]), (&b"refused:443"[..], &b"a:443"[..]));
    assert_eq!(ended.responses().len(), 2);
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let (upstream, files) = (Server::echo(), Certificates::new());
    files.write(&Authority::new().sign());
    let tls = files.load(None);
    let agent = Agent::start(upstream.address, |config| {
        config.tls = Some(tls.clone());
        config.proxy_protocol = true;
    });
    let silent: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(agent.address).unwrap()).collect();
    until("they are accepted", || agent.stats.snapshot().connections == 3);
    let start = std::time::Instant::now();
    let ended = agent.end();
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    assert!(ended.requests().is_empty());
    drop(silent);
}
