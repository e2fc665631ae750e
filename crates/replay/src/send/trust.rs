//! Whom a target's certificate is to be signed by, and who we are to it: makes the
//! configuration of TLS from what the user named. Opens no connection.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};

/// How an `https` target is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Authorities that may have signed its certificate, as PEM, instead of those the
    /// operating system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate with its chain, and its key, as PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name it is asked for and has to prove; the URL's host if not told.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure: bool,
}

impl Tls {
    /// Whether everything that is named is there and can be used.
    ///
    /// # Errors
    /// What cannot, in words.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.server_name {
            server_name(name)?;
        }
        self.client_config().map(drop)
    }

    /// The name in the handshake.
    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        server_name(self.server_name.as_deref().unwrap_or(host))
    }

    pub(super) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let roots = match &self.ca {
                Some(path) => authorities(path)?,
                None => system_trust()?,
            };
            builder.with_root_certificates(roots)
        };
        match &self.certificate {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => {
                let certificates = certificates(chain)?;
                let key_of = |error: pem::Error| format!("{}: {}", key.display(), said(&error));
                let secret = PrivateKeyDer::from_pem_file(key).map_err(key_of)?;
                builder
                    .with_client_auth_cert(certificates, secret)
                    .map_err(|error| format!("{} and {}: {error}", chain.display(), key.display()))
            }
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("`{name}` cannot be a TLS server name"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error: pem::Error| format!("{}: {}", path.display(), said(&error));
    let all = CertificateDer::pem_file_iter(path).map_err(problem)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(problem)?;
    if all.is_empty() {
        return Err(format!("{}: there is no certificate (PEM) in it", path.display()));
    }
    Ok(all)
}

fn said(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no private key (PEM) in it".to_owned(),
        other => other.to_string(),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// Trust in what the operating system trusts: shadow clusters tend to have
/// certificates of a company's own authority, which is installed there.
fn system_trust() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(String::new, |e| format!(": {e}"));
        return Err(format!(
            "no trusted certificates found on this system{why} (install ca-certificates, set \
             SSL_CERT_FILE, or name the authority with --tls-ca)"
        ));
    }
    Ok(roots)
}

/// Takes any certificate; that its owner has the key is checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
