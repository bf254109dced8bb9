//! A client that takes nothing of several answers on one connection, while another waits for a place at their upstream.

use super::{Origin, content, origins_go_on};
use crate::hostile::scene::Scene;
use crate::hostile::script::{Act, Setting};
use crate::sim::frames::{HEADER, Header, Kind, push};
use crate::sim::tube::Tube;

const SIZE: usize = 30_000;

fn go_on(scene: &mut Scene, origins: &mut Vec<Origin>) {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..100 {
        origins_go_on(scene, origins, &mut rng);
        scene.rest();
    }
}

fn frames(heard: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let (mut at, mut frames) = (0, Vec::new());
    while let Some(bytes) = heard[at..].first_chunk::<HEADER>() {
        let header = Header::read(*bytes).expect("a frame");
        at += HEADER + header.length;
        frames.push((header, heard[at - header.length..at].to_vec()));
    }
    frames
}

/// One of the stalled exchanges is cut for the one that waits, and no more than that one.
pub fn one_is_cut() {
    let (mtu, max_buffer) = (1000, 5000);
    let setting =
        Setting { servers: 1, places: 2, idle: 2, has_narrow_limits: false, max_body_size: 0, total_ms: 0, seed: 1, mtu, max_buffer };
    let mut scene = Scene::with(setting, |config| {
        (config.timeouts.client_write_ms, config.timeouts.read_ms, config.timeouts.queue_ms) = (60_000, 60_000, 20_000);
        config.pools[0].timeouts = config.timeouts.clone();
    });
    let key = scene.core.clients.vacant_key();
    let many = scene.client(0);
    scene.core.carry_many(key, Box::new(Tube::default()));
    scene.clients[many].perform(&Act::Read(0), &mut scene.wires.borrow_mut());
    let mut origins = Vec::new();
    for number in [1, 2] {
        let mut bytes = Vec::new();
        push(&mut bytes, Kind::Head, number, format!("GET /{number}/{SIZE}/length HTTP/1.1\r\nHost: many.test\r\n\r\n").as_bytes());
        scene.clients[many].say(&bytes);
        go_on(&mut scene, &mut origins);
    }
    scene.pass(3000);
    let other = scene.client(1);
    scene.clients[other].say(b"GET /3/5/length HTTP/1.1\r\nHost: one.test\r\n\r\n");
    go_on(&mut scene, &mut origins);
    assert!(scene.clients[other].heard.is_empty(), "it waits");
    scene.pass(1000);
    go_on(&mut scene, &mut origins);
    assert!(scene.clients[other].heard.starts_with(b"HTTP/1.1 200 "), "the other has a place");
    scene.clients[many].read_on();
    go_on(&mut scene, &mut origins);
    let frames = frames(&scene.clients[many].heard);
    let count = |kind, number| frames.iter().filter(|(header, _)| (header.kind, header.stream) == (kind, number)).count();
    assert_eq!([count(Kind::Reset, 1), count(Kind::Reset, 2)], [1, 0], "the longest is cut, and not the other");
    let rest: Vec<u8> =
        frames.iter().filter(|(header, _)| (header.kind, header.stream) == (Kind::Data, 2)).flat_map(|(_, bytes)| bytes.clone()).collect();
    assert!(rest == content(2, SIZE) && count(Kind::End, 2) == 1, "the other is not whole: {} bytes", rest.len());
    assert!(!scene.clients[many].heard_fin && !scene.clients[many].heard_rst, "their connection goes on");
    scene.end();
}
