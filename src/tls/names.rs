//! Which certificate a client gets: by the server name that it asks for (SNI, RFC 6066, section 3) and the signatures that it can check.

use super::identity::Identity;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// The certificates of a listening address, in the order of the configuration.
#[derive(Debug)]
pub(super) struct ByName {
    pub(super) identities: Vec<Arc<Identity>>,
    /// Whether a client that asks for no name that is here is refused; otherwise it gets the first.
    pub(super) is_strict: bool,
}

impl ByName {
    /// The certificate for a name. One whose signature the client can check wins over one that it cannot, and an exact name over a `*`.
    fn choose(&self, name: Option<&str>, can_check: impl Fn(&Identity) -> bool) -> Option<&Arc<Identity>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let exact = |identity: &Identity| name.as_ref().is_some_and(|name| identity.names.contains(name));
        let covering = |identity: &Identity| name.as_ref().is_some_and(|name| identity.is_for(name));
        let first = |fits: &dyn Fn(&Identity) -> bool| self.identities.iter().find(|identity| fits(identity));
        let found = first(&|identity| exact(identity) && can_check(identity))
            .or_else(|| first(&|identity| covering(identity) && can_check(identity)))
            .or_else(|| first(&covering));
        if found.is_some() || self.is_strict {
            return found;
        }
        // The default, or one for one of its names with another kind of key.
        let default = self.identities.first()?;
        let is_sibling = |identity: &Identity| identity.names.iter().any(|name| default.names.contains(name));
        first(&|identity| (identity.names == default.names || is_sibling(identity)) && can_check(identity)).or(Some(default))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_check = |identity: &Identity| identity.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        self.choose(hello.server_name(), can_check).map(|identity| identity.certified.clone())
    }
}
