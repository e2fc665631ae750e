//! TLS towards clients: the certificate, its key and the authorities of clients, as
//! they lie in files that others renew. What is agreed on is for [`super`] to use; when
//! the files are looked at again is up to [`super::reload`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{NoServerSessionStorage, WebPkiClientVerifier},
    },
};
use umbra_record::hash;

use super::validity::validity;
use crate::{
    stream::Stream,
    upstream::{HTTP1, HTTP2, authorities, rustls_error},
};

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A certificate that is valid for no longer than this is worth a warning.
const SOON: Duration = Duration::from_secs(3 * 86_400);

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Authorities that sign the certificates of clients (PEM); if there are any, each
    /// client must have one.
    pub client_authorities: Option<PathBuf>,
}

/// TLS towards clients; clones are the same.
#[derive(Clone)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    /// What the files held at the start.
    loaded: Vec<Option<[u8; 16]>>,
    current: RwLock<Arc<ServerConfig>>,
    stats: TlsStats,
}

/// What is counted of it.
#[derive(Debug, Default)]
pub(crate) struct TlsStats {
    /// Files that changed and were taken.
    pub(crate) reloaded: AtomicU64,
    /// … and that could not be used.
    pub(crate) failed: AtomicU64,
    /// When the certificate expires, in seconds since 1970.
    pub(crate) expires: AtomicU64,
}

/// What the files hold.
pub(super) struct Contents {
    files: Vec<(PathBuf, io::Result<Vec<u8>>)>,
}

/// A handshake that came to an end.
pub(super) struct Agreed {
    pub(super) stream: Stream,
    pub(super) server_name: String,
    pub(super) alpn: String,
    pub(super) http2: bool,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(files: TlsFiles) -> Result<Self, Vec<String>> {
        let contents = Contents::read(&files);
        let (config, expires) = contents.load(SystemTime::now())?;
        let stats = TlsStats::default();
        stats.expires.store(seconds(expires), Ordering::Relaxed);
        let (loaded, current) = (contents.fingerprint(), RwLock::new(Arc::new(config)));
        let shared = Shared { files, loaded, current, stats };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn stats(&self) -> &TlsStats {
        &self.shared.stats
    }

    pub(super) fn loaded(&self) -> Vec<Option<[u8; 16]>> {
        self.shared.loaded.clone()
    }

    pub(super) fn files(&self) -> &TlsFiles {
        &self.shared.files
    }

    /// Takes what the files hold now, for the handshakes to come. Connections that are
    /// open keep what they have agreed on.
    pub(super) fn take(&self, contents: &Contents) -> Result<(), Vec<String>> {
        let stats = &self.shared.stats;
        match contents.load(SystemTime::now()) {
            Ok((config, expires)) => {
                stats.reloaded.fetch_add(1, Ordering::Relaxed);
                stats.expires.store(seconds(expires), Ordering::Relaxed);
                let mut current =
                    self.shared.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(config);
                Ok(())
            }
            Err(problems) => Err(problems),
        }
    }

    /// Shakes hands. What goes wrong is a reason to be counted.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Agreed, &'static str> {
        let current =
            Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner));
        let session = match TlsAcceptor::from(current).accept(stream).await {
            Ok(session) => session,
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return Err(reason(&error));
            }
        };
        let (_, agreed) = session.get_ref();
        let alpn = agreed.alpn_protocol().unwrap_or_default();
        Ok(Agreed {
            http2: alpn == HTTP2,
            alpn: String::from_utf8_lossy(alpn).into_owned(),
            server_name: agreed.server_name().unwrap_or_default().to_owned(),
            stream: tokio_rustls::TlsStream::from(session).into(),
        })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Self {
        let paths = [&files.certificate, &files.key].into_iter().chain(&files.client_authorities);
        Self { files: paths.map(|path| (path.clone(), read(path))).collect() }
    }

    /// Tells whether anything has changed, without keeping a key in memory.
    pub(super) fn fingerprint(&self) -> Vec<Option<[u8; 16]>> {
        let of = |found: &io::Result<Vec<u8>>| found.as_deref().ok().map(hash::of);
        self.files.iter().map(|(_, found)| of(found)).collect()
    }

    /// What can be made of them; or all that is wrong.
    fn load(&self, now: SystemTime) -> Result<(ServerConfig, SystemTime), Vec<String>> {
        let chain = self.parse(0, |pem| chain(pem, now));
        let key = self.parse(1, |pem| {
            PrivateKeyDer::from_pem_slice(pem)
                .map_err(|error| format!("no usable private key: {error}"))
        });
        let clients = (self.files.len() > 2)
            .then(|| self.parse(2, |pem| authorities(pem).map_err(|error| error.to_string())))
            .transpose();
        match (chain, key, clients) {
            (Ok((chain, expires)), Ok(key), Ok(clients)) => match config(chain, key, clients) {
                Ok(config) => Ok((config, expires)),
                Err(error) => Err(vec![self.say(&error)]),
            },
            (chain, key, clients) => {
                let problems = [chain.err(), key.err(), clients.err()];
                Err(problems.into_iter().flatten().collect())
            }
        }
    }

    /// One of the files.
    fn parse<T>(
        &self,
        index: usize,
        parser: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let (path, found) = &self.files[index];
        let parsed = match found {
            Ok(pem) => parser(pem),
            Err(error) => Err(error.to_string()),
        };
        parsed.map_err(|what| format!("{}: {what}", path.display()))
    }

    fn say(&self, error: &rustls::Error) -> String {
        let (certificate, key) = (self.files[0].0.display(), self.files[1].0.display());
        match error {
            rustls::Error::InconsistentKeys(_) => format!("{key}: is not the key of {certificate}"),
            other => format!("{certificate}: {other}"),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"))
        }
        _ => std::fs::read(path),
    }
}

type Chain = Vec<CertificateDer<'static>>;

/// The certificates of a PEM text, and when the first one expires.
fn chain(pem: &[u8], now: SystemTime) -> Result<(Chain, SystemTime), String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Chain, _>>()
        .map_err(|error| format!("no usable certificate: {error}"))?;
    let first = chain.first().ok_or("no certificate in it")?;
    let validity = validity(first).ok_or("its first certificate is damaged")?;
    if validity.to < now {
        return Err(format!("the certificate expired {} ago", about(now, validity.to)));
    }
    if validity.from > now {
        return Err(format!(
            "the certificate is not valid for another {}",
            about(validity.from, now)
        ));
    }
    if let Ok(left) = validity.to.duration_since(now)
        && left < SOON
    {
        tracing::warn!("the TLS certificate expires in {}", about(validity.to, now));
    }
    Ok((chain, validity.to))
}

/// The time between, in its largest unit.
fn about(later: SystemTime, earlier: SystemTime) -> String {
    let seconds = later.duration_since(earlier).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn config(
    chain: Chain,
    key: PrivateKeyDer<'static>,
    clients: Option<rustls::RootCertStore>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    // Sessions are resumed by what the client keeps, so that they take no room here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(config)
}

/// Why a handshake failed, to be counted.
fn reason(error: &io::Error) -> &'static str {
    use rustls::{Error, InvalidMessage};
    match rustls_error(error) {
        None => "tls_ended",
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => "tls_missing",
        Some(Error::PeerIncompatible(_)) => "tls_incompatible",
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
            "tls_client_certificate"
        }
        Some(Error::NoApplicationProtocol) => "tls_alpn",
        Some(Error::AlertReceived(_)) => "tls_refused",
        Some(_) => "tls_malformed",
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
