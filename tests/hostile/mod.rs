//! A hostile client and a hostile upstream around the production worker. Any bytes are read as a list of operations; then an
//! independent reader of HTTP/1.1 judges everything that was sent and received.
//!
//! ```text
//!     dice --> script <-- requests, answers <-- pieces          bytes -> operations, with the grammar's pieces in them
//!                |
//!              scene --> peer, socket, sim::wire                the worker, moved to rest after each
//!                |
//!              judge, agree --> canon, streams --> http         what must hold
//! ```
//!
//! Invariants: what an upstream gets is canonical, and is a request of some client, read in the same way; it has nothing of a refused
//! request. A client gets its answers in order: made here, or what the upstream sent for that request; none looks complete that is
//! not. Rings stay bounded, and so does the work for each byte. After some time no client, exchange, connection, place or timer is left. What
//! one client sends has the same result whole and byte by byte.

mod agree;
mod answers;
mod canon;
pub mod cost;
mod dice;
#[path = "../shared/http.rs"]
mod http;
pub mod judge;
pub mod many;
mod net;
mod peer;
mod pieces;
mod requests;
mod scene;
mod script;
mod streams;

use scene::Scene;
use script::Script;
use tidegate::base::steps;

/// Plays an input; panics where an invariant is violated.
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

/// An input's operations as text.
pub fn describe(input: &[u8]) -> String {
    Script::read(input).to_string()
}
