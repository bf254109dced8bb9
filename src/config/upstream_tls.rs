//! Converts `upstream_tls`: roots, certificates and keys are read and checked here, so that what runs is what was checked.

use super::address;
use super::guards::SectionLayers;
use super::keys;
use super::listener_tls::pair;
use super::model::Origin;
use super::report::Report;
use super::tree::{Location, Node, ShownText};
use crate::tls::client::{ClientTls, Roots, TlsTrust, server_name};
use crate::tls::identity::Identity;
use std::path::Path;
use std::sync::Arc;

/// Reads the settings of one pool after the other. The system's roots are many, and read once.
#[derive(Default)]
pub struct TlsReader {
    of_system: Option<Result<Arc<Roots>, String>>,
}

impl TlsReader {
    /// The settings of the innermost owner; each key is that of the innermost section that has it. `None` if it has no upstream that
    /// speaks TLS, or something is wrong, which is reported.
    pub fn read(&mut self, owners: &[Option<&Node>], report: &mut Report) -> Option<Arc<ClientTls>> {
        let owner = owners.last().copied().flatten()?;
        let asking = owner.get("upstreams").map(Node::items).unwrap_or_default().iter().filter_map(|item| item.get("url"));
        let asking = asking.into_iter().find(|url| url.text().is_some_and(is_https));
        // What a pool only inherits is checked where it is written.
        if asking.is_none() && !owner.get("upstream_tls").is_some_and(is_written) {
            return None;
        }
        let layers = SectionLayers::of(owners, "upstream_tls", keys::TLS_OUT);
        let (trust, name, identity) = (self.trust(&layers, asking, report), name(&layers, report), identity(&layers, report));
        let (at, trust, name, identity) = (asking?, trust?, name?, identity?);
        let made = ClientTls::new(trust, name, identity).map_err(|why| report.error(at, why));
        made.ok().map(Arc::new)
    }

    /// `asking` is the upstream that needs it.
    fn trust(&mut self, layers: &SectionLayers, asking: Option<&Node>, report: &mut Report) -> Option<TlsTrust> {
        if let Some(node) = layers.get("insecure_skip_verify").filter(|_| layers.is_true("insecure_skip_verify")) {
            let is_of_pool = |node: &Node| node.path.to_string().starts_with("pools.");
            if let Some(file) = layers.get("ca_file").filter(|file| is_of_pool(file) || !is_of_pool(node)) {
                report
                    .error(file, "verifies nothing beside insecure_skip_verify: true, remove one of them, or set the other to false here");
                return None;
            }
            report.warn(node, "whoever is on the way to the upstreams can pose as them: ca_file verifies certificates of one's own");
            return Some(TlsTrust::Anybody);
        }
        let roots = match layers.get("ca_file") {
            Some(node) => Roots::read(Path::new(node.text()?)).map(Arc::new).map_err(|why| report.error(node, why)).ok()?,
            None => {
                let node = asking?;
                let found = self.of_system.get_or_insert_with(|| Roots::of_system().map(Arc::new)).clone();
                found.map_err(|why| report.error(node, format!("{why}: upstream_tls.ca_file gives them"))).ok()?
            }
        };
        Some(TlsTrust::Roots(roots))
    }
}

fn is_https(url: &str) -> bool {
    address::url(url).as_ref().is_ok_and(Origin::is_tls)
}

/// Whether somebody wrote a key in it.
fn is_written(section: &Node) -> bool {
    section.entries().iter().any(|entry| entry.node.place != Location::Nowhere)
}

/// Whom to ask for instead of the host, if anybody; the outer `None` if that is no name.
#[allow(clippy::option_option)]
fn name(layers: &SectionLayers, report: &mut Report) -> Option<Option<rustls::pki_types::ServerName<'static>>> {
    let Some(node) = layers.get("server_name") else { return Some(None) };
    let text = node.text()?;
    let found = server_name(text.trim_matches(['[', ']']));
    if found.is_none() {
        report.error(node, format!("\"{}\" is no name that a certificate can have", ShownText(text)));
    }
    found.map(Some)
}

/// What upstreams are shown, if anything; the outer `None` if something is wrong.
#[allow(clippy::option_option)]
fn identity(layers: &SectionLayers, report: &mut Report) -> Option<Option<Arc<Identity>>> {
    let (cert, key) = match (layers.get("client_cert"), layers.get("client_key")) {
        (None, None) => return Some(None),
        (Some(cert), None) => {
            report.error(cert, "needs client_key beside it, the private key of this certificate");
            return None;
        }
        (None, Some(key)) => {
            report.error(key, "needs client_cert beside it, the certificate of this key");
            return None;
        }
        (Some(cert), Some(key)) => (cert, key),
    };
    pair(cert, key, Identity::client_doubt, report).map(Some)
}
