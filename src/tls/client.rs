//! What connections to the upstreams of a pool need to speak TLS.

use super::identity::Identity;
use super::verify::Verifier;
use super::{PROVIDER, files, identity};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is offered to upstreams by ALPN (RFC 7301).
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// For how many names of upstreams sessions are kept, to go on with.
const SESSIONS: usize = 1024;

/// The roots that upstreams' certificates are verified by.
pub struct Roots {
    store: Arc<RootCertStore>,
    /// As they were read.
    certificates: Vec<CertificateDer<'static>>,
    /// `None` if they are the system's.
    file: Option<PathBuf>,
}

impl Roots {
    /// The certificates of a file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let (mut store, certificates) = (RootCertStore::empty(), files::certificates(file)?);
        for (at, certificate) in certificates.iter().enumerate() {
            let number = at + 1;
            // Whoever has the key of one that is no authority's must not be able to issue others.
            let is_authority = identity::is_authority(certificate);
            if !is_authority.map_err(|why| format!("{}: certificate {number} is no root: {why}", file.display()))? {
                continue;
            }
            let added = store.add(certificate.clone());
            added.map_err(|error| format!("{}: certificate {number} is no root: {error}", file.display()))?;
        }
        Ok(Self { store: store.into(), certificates, file: Some(file.into()) })
    }

    /// Those that this system trusts, at present.
    pub fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs.iter().cloned());
        if store.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(format!("this system has no root certificates to verify it by{why}"));
        }
        Ok(Self { store: store.into(), certificates: found.certs, file: None })
    }
}

/// What the certificate of an upstream must be like.
#[derive(Clone)]
pub enum TlsTrust {
    /// Issued by one of these roots, and for the name that it is reached by.
    Roots(Arc<Roots>),
    /// Anything.
    Anybody,
}

/// TLS to the upstreams of a pool. Its sessions, with which later connections go on, are shared by all workers.
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// What upstreams are asked for, instead of their hosts.
    server_name: Option<ServerName<'static>>,
    trust: TlsTrust,
    identity: Option<Arc<Identity>>,
    /// Of everything that a handshake depends on.
    digest: [u8; 32],
}

/// What a connection to an upstream begins TLS with.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The settings.
    pub config: Arc<ClientConfig>,
    /// Whom it is asked for.
    pub name: ServerName<'static>,
}

impl ClientTls {
    /// Joins the parts.
    pub fn new(trust: TlsTrust, server_name: Option<ServerName<'static>>, identity: Option<Arc<Identity>>) -> Result<Self, String> {
        let digest = digest(&trust, server_name.as_ref(), identity.as_deref());
        let builder = ClientConfig::builder_with_provider(PROVIDER.clone()).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(|error| error.to_string())?.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(verifier(&trust)?));
        let mut config = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone()))),
        };
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self { config: Arc::new(config), server_name, trust, identity, digest })
    }

    /// For a connection to this host; `None` if it has no name that a certificate could be for.
    pub fn towards(&self, host: &str) -> Option<Departure> {
        let name = self.server_name.clone().or_else(|| server_name(host))?;
        Some(Departure { config: self.config.clone(), name })
    }

    /// The file of its roots; `None` if they are the system's.
    pub(super) fn ca_file(&self) -> Option<&PathBuf> {
        let TlsTrust::Roots(roots) = &self.trust else { return None };
        roots.file.as_ref()
    }

    /// What it shows upstreams that ask who it is.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// The files that it was made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.identity.iter().flat_map(|identity| identity.files()).chain(self.ca_file())
    }
}

fn verifier(trust: &TlsTrust) -> Result<Verifier, String> {
    let TlsTrust::Roots(trusted) = trust else { return Ok(Verifier::Anybody) };
    let builder = WebPkiServerVerifier::builder_with_provider(trusted.store.clone(), PROVIDER.clone());
    let roots = (!trusted.store.is_empty()).then(|| builder.build().map_err(|error| error.to_string())).transpose()?;
    let named = trusted.file.as_ref().map(|_| trusted.certificates.clone()).unwrap_or_default();
    Ok(Verifier::Roots { roots, named })
}

impl PartialEq for ClientTls {
    /// Whether handshakes go the same way.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("ClientTls").field("files", &self.files().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// A host as certificates name it: a name without a dot at its end, or an address.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
}

fn digest(trust: &TlsTrust, name: Option<&ServerName>, identity: Option<&Identity>) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| digest.update(Sha256::digest(bytes));
    match trust {
        TlsTrust::Anybody => add(b"anybody"),
        TlsTrust::Roots(roots) => {
            add(roots.file.as_ref().map_or(&[], |file| file.as_os_str().as_encoded_bytes()));
            roots.certificates.iter().for_each(|certificate| add(certificate));
        }
    }
    add(name.map(ServerName::to_str).unwrap_or_default().as_bytes());
    if let Some(identity) = identity {
        identity.files().iter().for_each(|file| add(file.as_os_str().as_encoded_bytes()));
        identity.certified.cert.iter().for_each(|certificate| add(certificate));
    }
    digest.finalize().into()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
