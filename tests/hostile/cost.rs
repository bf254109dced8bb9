//! How much work input from the network may cause.

use super::peer::Peer;
use super::scene::Scene;
use super::script::Setting;
use tidegate::base::steps;

/// Steps allowed for each byte that was sent or received. A head that comes in small pieces is tried once as one of the usual shape, and
/// then searched once and parsed once.
const EACH: u64 = 32;
/// Steps allowed for each connection.
const AT_ALL: u64 = 1000;

pub fn check(scene: &Scene, steps: u64) {
    let said = |peer: &Peer| (peer.sent.len() + peer.heard.len()) as u64;
    let peers = || scene.clients.iter().chain(&scene.upstreams);
    let (bytes, count) = (peers().map(said).sum::<u64>(), peers().count() as u64);
    assert!(steps <= EACH * bytes + AT_ALL * count, "{steps} steps for {bytes} bytes on {count} connections");
}

/// A request and its answer whose heads and bodies come byte by byte.
pub fn trickle() {
    let setting = Setting {
        servers: 1,
        places: 100,
        idle: 64,
        has_narrow_limits: false,
        max_body_size: 100_000,
        total_ms: 0,
        mtu: usize::MAX,
        max_buffer: 60_000,
        seed: 1,
    };
    let fields: String = (0..80).map(|n| format!("X-Field-{n}: {}\r\n", "v".repeat(50))).collect();
    let body = "3\r\nabc\r\n".repeat(300) + "0\r\nX-Sum: 1\r\n\r\n";
    let say = |start: &str| format!("{start}\r\n{fields}Connection: X-Field-7, X-Gone\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let before = steps::taken();
    let mut scene = Scene::new(setting);
    let client = scene.client(0);
    for byte in say("POST /q HTTP/1.1\r\nHost: a.test").bytes() {
        scene.clients[client].say(&[byte]);
        scene.rest();
    }
    for byte in say("HTTP/1.1 200 OK").bytes() {
        scene.upstreams[0].say(&[byte]);
        scene.rest();
    }
    let heard = scene.clients[client].heard.clone();
    assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n") && heard.ends_with(b"0\r\nX-Sum: 1\r\n\r\n"), "{}", heard.escape_ascii());
    scene.end();
    check(&scene, steps::taken() - before);
}
