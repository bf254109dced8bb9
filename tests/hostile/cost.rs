//! How much work input from the network may cause.

use super::peer::Peer;
use super::scene::Scene;

/// Steps allowed for each byte that was sent or received. A head that comes in small pieces is tried once as one of the usual shape, and
/// then searched once and parsed once.
const EACH: u64 = 64;
/// Steps allowed for each connection.
const AT_ALL: u64 = 20_000;

pub fn check(scene: &Scene, steps: u64) {
    let said = |peer: &Peer| (peer.sent.len() + peer.heard.len()) as u64;
    let peers = || scene.clients.iter().chain(&scene.upstreams);
    let (bytes, count) = (peers().map(said).sum::<u64>(), peers().count() as u64);
    assert!(steps <= EACH * bytes + AT_ALL * count, "{steps} steps for {bytes} bytes on {count} connections");
}
