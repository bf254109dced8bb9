//! A hostile client and a hostile upstream around the production worker: any bytes are a list of operations, and what must hold
//! of what every side said and heard is asked of a second reader of HTTP/1.1.
//!
//! ```text
//!     dice --> script <-- requests, answers <-- pieces          bytes -> operations, with the grammar's pieces in them
//!                |
//!              scene --> peer, socket, sim::wire                the worker, moved to rest after each
//!                |
//!              judge, agree --> canon, streams --> strict       what must hold
//! ```
//!
//! Invariants. What an upstream hears is canonical, and is a request that a client sent, read in the same way; nothing of a refused
//! request is in it. What a client hears are its answers in order: made here, or what the upstream said to just that request; none
//! looks whole that is not. Rings stay bounded, and so is the work for each byte. When time has passed, nothing is left: no session, connection, place or timer. And
//! what one client says leads to the same, whole and byte by byte.

mod agree;
mod answers;
mod canon;
mod cost;
mod dice;
mod judge;
mod net;
mod peer;
mod pieces;
mod requests;
mod scene;
mod script;
mod streams;
mod strict;

use scene::Scene;
use script::Script;
use tidegate::base::steps;

/// Plays an input; panics where something does not hold.
pub fn run(input: &[u8]) {
    let script = Script::read(input);
    let mut scene = Scene::new(script.setting);
    let before = steps::taken();
    scene.play(&script);
    scene.end();
    cost::check(&scene, steps::taken() - before);
    judge::judge(&scene);
    if script.is_compared {
        agree::check(&script);
    }
}

/// An input's operations, for people.
pub fn describe(input: &[u8]) -> String {
    Script::read(input).to_string()
}
