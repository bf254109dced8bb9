//! Converts `listen[].tls`: certificates, keys and roots are read and checked here, so that what runs is what was checked.

use super::report::Report;
use super::tree::{Location, Node, Value};
use crate::tls::identity::{Identity, IdentityError};
use crate::tls::server::{ClientAuth, ServerTls};
use std::path::Path;
use std::sync::Arc;

/// What is offered to clients by ALPN (RFC 7301).
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// The settings of one address; `None` if something in them is wrong, which is reported.
pub fn read(tls: &Node, report: &mut Report) -> Option<ServerTls> {
    let is_true = |key: &str| tls.get(key).is_some_and(|node| matches!(node.value, Value::Bool(true)));
    let is_word = |key: &str, word: &str| tls.get(key).and_then(Node::text) == Some(word);
    let identities = identities(tls, report);
    let auth = client_auth(tls, !is_word("client_auth", "request"), report);
    let (identities, auth) = (identities?, auth?);
    let made = ServerTls::new(identities, is_word("min_version", "1.3"), is_true("strict_sni"), auth, PROTOCOLS);
    made.map_err(|why| report.error(tls, why)).ok()
}

fn identities(tls: &Node, report: &mut Report) -> Option<Vec<Arc<Identity>>> {
    let certificates = tls.get("certificates").map(Node::items).unwrap_or_default();
    if certificates.is_empty() {
        if !tls.has_invalid() {
            report.error(tls, "needs at least one certificate, such as {certificates: [{cert: cert.pem, key: key.pem}]}");
        }
        return None;
    }
    let found: Vec<Option<Arc<Identity>>> = certificates.iter().map(|node| identity(node, report)).collect();
    found.into_iter().collect()
}

fn identity(node: &Node, report: &mut Report) -> Option<Arc<Identity>> {
    let part = |name: &str| node.get(name).filter(|node| !node.is_invalid());
    let (Some(cert), Some(key)) = (part("cert"), part("key")) else {
        if !node.has_invalid() {
            report.error(node, "a certificate needs cert and key, both files in PEM");
        }
        return None;
    };
    pair(cert, key, Identity::doubts, report)
}

/// A certificate with its key, from the files that two values name; what is wrong or doubtful is reported at the one that it concerns.
pub fn pair<D: IntoIterator<Item = String>>(
    cert: &Node,
    key: &Node,
    doubts: impl Fn(&Identity) -> D,
    report: &mut Report,
) -> Option<Arc<Identity>> {
    match Identity::read(Path::new(cert.text()?), Path::new(key.text()?)) {
        Ok(identity) => {
            doubts(&identity).into_iter().for_each(|doubt| report.warn(cert, doubt));
            identity.key_doubt().into_iter().for_each(|doubt| report.warn(key, doubt));
            return Some(Arc::new(identity));
        }
        Err(IdentityError::Certificate(why)) => report.error(cert, why),
        Err(IdentityError::Key(why)) => report.error(key, why),
    }
    None
}

/// Whether clients have certificates, and whose; the outer `None` if something is wrong.
#[allow(clippy::option_option)]
fn client_auth(tls: &Node, is_required: bool, report: &mut Report) -> Option<Option<ClientAuth>> {
    if let Some(given) = tls.get("client_auth").filter(|node| node.place != Location::Nowhere && tls.get("client_ca").is_none()) {
        report.error(given, "needs client_ca, the roots of the clients' certificates: without it everybody would be let in");
        return None;
    }
    let Some(node) = tls.get("client_ca").filter(|node| !matches!(node.value, Value::Null)) else { return Some(None) };
    let read = ClientAuth::read(Path::new(node.text()?), is_required);
    read.map_err(|why| report.error(node, why)).ok().map(Some)
}
