//! Who is taken for an upstream.

use super::{PROVIDER, identity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// Whose certificate is taken. In each case the handshake's signature shows that the upstream has its key.
#[derive(Debug)]
pub(super) enum Verifier {
    /// Who has a certificate from one of the roots, or is named by its very certificate.
    Roots {
        /// `None` if no certificate of `ca_file` is an authority's.
        roots: Option<Arc<WebPkiServerVerifier>>,
        /// The certificates of `ca_file`.
        named: Vec<CertificateDer<'static>>,
    },
    /// Anybody's.
    Anybody,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Self::Roots { roots, named } = self else { return Ok(ServerCertVerified::assertion()) };
        let unknown = || Err(CertificateError::UnknownIssuer.into());
        match roots.as_ref().map_or_else(unknown, |roots| roots.verify_server_cert(leaf, chain, name, ocsp, now)) {
            // A certificate that has signed itself is often one of a CA too, which no server should have. Where that certificate is given
            // as the root, it is meant all the same.
            Err(_) if named.iter().any(|named| named == leaf) => verify_named(leaf, name, now),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// Of a certificate that is trusted itself, its time and its names are left to check.
fn verify_named(leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
    let (from, until) = identity::validity(leaf).ok_or(CertificateError::BadEncoding)?;
    let time = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    if now.as_secs() > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: time(until) }.into());
    }
    if now.as_secs() < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: time(from) }.into());
    }
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    Ok(ServerCertVerified::assertion())
}
