//! tidegate: an HTTP reverse proxy and load balancer. This is the map of the code.
//!
//! One worker thread is one `mio::Poll` and one loop. A worker owns a slab of client sessions and a slab of upstream
//! connections; its listeners, its waker and the admin listener are ordinary tokens of the same loop. N workers
//! bind sockets of their own to one port (SO_REUSEPORT), and so can several processes. The first worker also has the
//! admin port and the health checks of all upstreams. Workers share an immutable [`site::Site`] and a little state made of atomics;
//! nothing else.
//!
//! The heart is a session that touches no socket: [`session::Session::handle`] takes an event, moves its state, and leaves
//! effects behind; bytes lie in bounded rings, one for each direction. Around it a thin shell, [`worker`], fills rings from
//! sockets, flushes them to sockets and performs effects. The shell's core is generic over its sockets, so that the simulation
//! in `tests/sim.rs` drives the very code that runs in production, without a network and without a clock.
//!
//! # Floors
//!
//! A module imports only from floors below it, and not sideways; `tests/architecture.rs` holds the code to this.
//!
//! ```text
//!     main   cli
//!     server                        threads, signals, listening addresses, the end
//!     worker                        the only place where sockets and sessions meet
//!     session        |  net         pure state machine  |  sockets, poll         (neither sees the other)
//!     answer  admin                 replies made here  |  the admin port's pages
//!     site                          a configuration with what runs by it
//!     upstream                      pools and servers
//!     route  balance  guard  health policy: pure, asked once an attempt
//!     http   config   observe       HTTP/1 grammar and framing | configuration | metrics and logs
//!     base                          ring, timer wheel, buffers, clock, mail between threads: knows no HTTP
//! ```
//!
//! # The way of a byte
//!
//! 1. The poll yields a token; [`worker`] matches it: listener, waker, client, upstream.
//! 2. `worker::accept` takes a place at the door and a descriptor, and fills a slot with a `Session`.
//! 3. `worker::pump` fills the session's `up` ring from the client's socket and tells it so.
//! 4. `session::read_head` parses (`http::quick` the usual heads, httparse the fields of others), frames, and routes by the normal
//!    form of what is asked for (`http::target`): to an upstream's pool, or to an answer made here.
//! 5. `session::connect` asks [`upstream::pool::Pool::pick`] once, and leaves an effect: connect, or stand in line; where places
//!    are scarce, only once the content is there. The pool asks its balance, and of each server whether it is well, whether its
//!    circuit lets the attempt through, and whether it has room.
//! 6. `worker::dial` takes an idle connection or dials, and goes on with the event that this gives.
//! 7. The new head lies in a block beside the ring; the pump sends head and body bytes together, with one write.
//! 8. `session::stream` runs two `half::Half`s, up and down: look, mark as checked, flush. Bodies pass through in place; long
//!    runs that need no look go past the ring (`worker::bulk`), the longest through a pipe of the kernel.
//! 9. When the answer is whole it is counted, the upstream connection is parked or closed, and only then its last bytes are
//!    flushed; the line is logged, and the session is back at the next head.
//!
//! An attempt that fails is settled with its server's circuit (`session::retry`), and where the request may be sent again it is
//! back at 5, after a wait. A place that gets free goes to the first in its pool's line, in whatever worker (`worker::line`).
//!
//! # Absences
//!
//! `session` opens no socket and reads no clock. `base` knows no HTTP. `http` allocates nothing for a field. Nothing blocks on a
//! loop: name look-ups, pages of the admin port and log files have threads of their own. `unsafe` is denied, and one question to the kernel in
//! `net::sys` is the exception. No panic can be reached from the network. Nothing grows without a bound that is configured or named.

pub mod admin;
pub mod answer;
pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod guard;
pub mod health;
pub mod http;
pub mod net;
pub mod observe;
pub mod route;
pub mod server;
pub mod session;
pub mod site;
pub mod upstream;
pub mod worker;
