//! The TLS modes of libpq, from no encryption to a verified certificate and name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::postgres::options::error::PostgresOptionsError;

/// The requirements for the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// No encryption.
    Disable,
    /// Encryption if the server offers it.
    Prefer,
    /// Encryption.
    Require,
    /// Encryption, and a certificate from a trusted authority.
    VerifyCa,
    /// Encryption, and a certificate from a trusted authority for exactly this host.
    VerifyFull,
}

impl TlsMode {
    /// Reads a value of `sslmode`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(Self::Disable),
            "allow" | "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    /// Whether nothing is sent without encryption.
    pub(crate) fn is_always_encrypted(self) -> bool {
        match self {
            Self::Disable | Self::Prefer => false,
            Self::Require | Self::VerifyCa | Self::VerifyFull => true,
        }
    }

    /// The mode in which the driver negotiates TLS with the server.
    pub(crate) fn negotiation(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }
}

/// The connector for a mode. As in libpq, a file of trusted certificates makes `prefer` and `require` verify too.
pub(crate) fn connector(mode: TlsMode, ca_file: Option<&Path>) -> Result<MakeRustlsConnect, PostgresOptionsError> {
    let trust = match (mode, ca_file) {
        (TlsMode::Disable, _) | (TlsMode::Prefer | TlsMode::Require, None) => Trust::Anybody,
        (TlsMode::VerifyFull, file) => Trust::Host(Authorities::read(file)?),
        (_, file) => Trust::Authority(Authorities::read(file)?),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust, algorithms: provider.signature_verification_algorithms };
    Ok(MakeRustlsConnect::new(client_config(provider, verifier)))
}

fn client_config(provider: Arc<CryptoProvider>, verifier: Verifier) -> ClientConfig {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions of TLS that it comes with")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// The servers that are trusted.
#[derive(Debug)]
enum Trust {
    /// Any server.
    Anybody,
    /// Servers with a certificate from an authority, for any name.
    Authority(Authorities),
    /// Servers with a certificate from an authority for the name of the host.
    Host(Authorities),
}

#[derive(Debug)]
struct Authorities {
    roots: RootCertStore,
    /// The same certificates unparsed. If the server's own certificate is among them, it is trusted as it is: it may be
    /// self-signed, and then no authority stands behind it.
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn read(file: Option<&Path>) -> Result<Self, PostgresOptionsError> {
        let certificates = match file {
            Some(file) => certificates_of(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            let place = file.map_or_else(|| "the system".to_owned(), |file| file.display().to_string());
            let why = format!("no trusted certificates in {place}, and sslmode=verify-full or verify-ca needs some");
            return Err(PostgresOptionsError::CaFile(why));
        }
        Ok(Self { roots, certificates })
    }
}

fn certificates_of(file: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresOptionsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| PostgresOptionsError::CaFile(format!("cannot read {}: {}", file.display(), reason(&error))))
}

/// Why a file has no certificates. The text repeats no line of the file, because it may be the wrong one and contain a
/// secret.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "it is not a PEM file with certificates".to_owned(),
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verify_authority(
        &self,
        authorities: &Authorities,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if authorities.certificates.contains(end_entity) {
            return Ok(());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &authorities.roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anybody => {}
            Trust::Authority(authorities) => self.verify_authority(authorities, end_entity, intermediates, now)?,
            Trust::Host(authorities) => {
                self.verify_authority(authorities, end_entity, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
