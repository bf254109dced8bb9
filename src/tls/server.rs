//! What a listening address needs to serve TLS.

use super::identity::Identity;
use super::names::ByName;
use super::tickets::Tickets;
use super::{PROVIDER, files, identity};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a client may be asked for beyond the protocol.
#[derive(Debug)]
pub struct ClientAuth {
    roots: RootCertStore,
    file: PathBuf,
    is_required: bool,
}

impl ClientAuth {
    /// Clients have certificates that these roots have issued, or may have.
    pub fn read(file: &Path, is_required: bool) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for (at, certificate) in files::certificates(file)?.into_iter().enumerate() {
            let number = at + 1;
            if !identity::is_authority(&certificate).unwrap_or(false) {
                return Err(format!(
                    "{}: certificate {number} is no authority's, and so has issued none (basicConstraints)",
                    file.display()
                ));
            }
            roots.add(certificate).map_err(|error| format!("{}: certificate {number} is no root: {error}", file.display()))?;
        }
        Ok(Self { roots, file: file.into(), is_required })
    }
}

/// TLS at a listening address.
#[derive(Clone)]
pub struct ServerTls {
    /// What connections are made with.
    pub config: Arc<ServerConfig>,
    /// Its certificates. The first is the default.
    pub identities: Vec<Arc<Identity>>,
    /// Of everything that a handshake depends on.
    digest: [u8; 32],
    client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// Joins the parts; `protocols` are the names for ALPN (RFC 7301), the first wins.
    pub fn new(
        identities: Vec<Arc<Identity>>,
        only_13: bool,
        is_strict: bool,
        auth: Option<ClientAuth>,
        protocols: &[&[u8]],
    ) -> Result<Self, String> {
        let mut digest = Sha256::new_with_prefix([u8::from(only_13), u8::from(is_strict)]);
        identities.iter().flat_map(|identity| identity.chain()).for_each(|certificate| digest.update(Sha256::digest(certificate)));
        if let Some(ClientAuth { roots, is_required, .. }) = &auth {
            digest.update([u8::from(*is_required)]);
            roots.roots.iter().for_each(|root| digest.update(Sha256::digest(&root.subject_public_key_info)));
        }
        let versions: &[_] = if only_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(PROVIDER.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(|error| error.to_string())?;
        let client_ca = auth.as_ref().map(|auth| auth.file.clone());
        let builder = match auth {
            None => builder.with_no_client_auth(),
            Some(ClientAuth { roots, is_required, file }) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), PROVIDER.clone());
                let verifier = if is_required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("{}: {error}", file.display()))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName { identities: identities.clone(), is_strict }));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // A session would go on without its client's certificate being checked again, however long ago that was done.
        match client_ca {
            None => config.ticketer = Arc::new(Tickets),
            Some(_) => config.send_tls13_tickets = 0,
        }
        // Tickets do without memory here, and serve every worker.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), identities, digest: digest.finalize().into(), client_ca })
    }

    /// The files that it was made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.identities.iter().flat_map(|identity| identity.files()).chain(&self.client_ca)
    }
}

impl PartialEq for ServerTls {
    /// Whether handshakes go the same way.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("ServerTls").field("identities", &self.identities).finish_non_exhaustive()
    }
}
