//! TLS towards upstreams: whom to trust, and what is offered in the handshake. The
//! name is always the upstream's own. Connecting is done by [`super::dial`].

use std::{fmt, io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Name of HTTP/2 in the handshake (RFC 9113 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// Name of HTTP/1.1 (RFC 7301 6).
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// Whose certificates are accepted. Made once, for as many upstreams as there are.
#[derive(Debug, Clone)]
pub struct Trust {
    /// With one list of protocols each.
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    http2_first: Arc<ClientConfig>,
}

/// TLS to one upstream.
#[derive(Clone)]
pub struct ClientTls {
    trust: Trust,
    name: ServerName<'static>,
}

/// Why there can be no TLS to an upstream.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has no certificates.
    #[error(
        "no trusted certificates found on this system{0} (install ca-certificates, or set SSL_CERT_FILE)"
    )]
    NoneOfSystem(String),
    /// The text has none.
    #[error("no usable certificate in it{0}")]
    NoneInFile(String),
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
    /// The host cannot stand in a certificate.
    #[error("the host `{0}` cannot be a TLS server name")]
    Name(String),
}

/// The protocols named in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
    /// HTTP/2, else HTTP/1.1.
    Http2First,
}

impl Trust {
    /// In what the operating system trusts.
    ///
    /// # Errors
    /// It trusts nobody.
    pub fn of_system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(TrustError::NoneOfSystem(why));
        }
        Self::new(roots)
    }

    /// In these authorities (PEM) and nobody else.
    ///
    /// # Errors
    /// There is none, or one that is none.
    pub fn in_authorities(pem: &[u8]) -> Result<Self, TrustError> {
        Self::new(authorities(pem)?)
    }

    fn new(roots: RootCertStore) -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(&[HTTP1]),
            http2: offering(&[HTTP2]),
            http2_first: offering(&[HTTP2, HTTP1]),
        })
    }
}

/// The certificates of a PEM text as authorities.
pub(crate) fn authorities(pem: &[u8]) -> Result<RootCertStore, TrustError> {
    let none = |why: String| TrustError::NoneInFile(why);
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(pem) {
        let found = found.map_err(|error| none(format!(": {error}")))?;
        roots.add(found).map_err(|error| none(format!(": {error}")))?;
    }
    if roots.is_empty() { Err(none(String::new())) } else { Ok(roots) }
}

impl ClientTls {
    /// To a host, whose certificate must be for its name or address.
    ///
    /// # Errors
    /// It is no name or address.
    pub fn new(trust: Trust, host: &str) -> Result<Self, TrustError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| TrustError::Name(host.to_owned()))?;
        Ok(Self { trust, name })
    }

    pub(super) async fn handshake(
        &self,
        alpn: Alpn,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = match alpn {
            Alpn::Http1 => &self.trust.http1,
            Alpn::Http2 => &self.trust.http2,
            Alpn::Http2First => &self.trust.http2_first,
        };
        TlsConnector::from(Arc::clone(config)).connect(self.name.clone(), stream).await
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether the peer speaks none of the protocols offered (RFC 7301 3.2).
pub(super) fn speaks_none(error: &io::Error) -> bool {
    matches!(
        rustls_error(error),
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol))
    )
}

/// What the library says of a handshake, if the connection did not just end.
pub(crate) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
