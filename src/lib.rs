//! tidegate: an HTTP reverse proxy and load balancer. This is the map of the code.
//!
//! One worker thread is one `mio::Poll` and one loop. A worker owns a table of client sessions and one of upstream
//! connections; its listeners, its waker and the admin listener are ordinary tokens of the same loop. N workers
//! bind sockets of their own to one port (SO_REUSEPORT), and so can several processes. The first worker also has the
//! admin port and the health checks of all upstreams. Workers share an immutable [`site::Site`] and a little state made of atomics;
//! nothing else.
//!
//! The heart is a session that touches no socket: [`session::Session::handle`] takes an event, moves its state, and leaves
//! effects behind; bytes lie in bounded rings, one for each direction. Around it a thin shell, [`worker`], fills rings from
//! transports, flushes them to transports and performs effects. A transport ([`net::transport`]) moves bytes and alone knows when it
//! can. The shell's core is generic over it, so that the simulation in `tests/sim.rs` drives the very code that runs in production,
//! without a network and without a clock.
//!
//! # Floors
//!
//! A module imports only from floors below it, and not sideways; `tests/architecture.rs` holds the code to this.
//!
//! ```text
//!     main   cli
//!     server                        threads, signals, listening addresses, the end
//!     worker                        the only place where transports and sessions meet
//!     session        |  net         pure state machine  |  transports, poll      (neither sees the other)
//!     answer  admin                 replies made here  |  the admin port's pages
//!     site                          a configuration with what runs by it
//!     upstream                      pools and servers
//!     route  balance  guard  health policy: pure, asked once an attempt
//!     http   config   observe       HTTP/1 grammar and framing | configuration | metrics and logs
//!     base                          ring, timer wheel, buffers, clock, addresses, mail between threads: knows no HTTP
//! ```
//!
//! # A request on its way
//!
//! 1. The poll yields a token; [`worker`] matches it: listener, waker, client, upstream.
//! 2. `worker::accept` claims a place among the listening address's connections and a descriptor, and fills a slot with a `Session`.
//! 3. `worker::pump` fills the session's `up` ring from the client's transport and tells the session.
//! 4. `session::read_head` parses the head (`http::quick` heads of the usual shape, httparse the fields of others), finds out how its
//!    body is framed, and routes by the normal form of the target (`http::target`): to an upstream's pool, or to an answer made here.
//! 5. `session::connect` asks [`upstream::pool::Pool::pick`] once, and leaves an effect: connect, or wait in the pool's queue. Where
//!    places are scarce, it does so only once the request's content is there. The pool asks its balancing algorithm, and each server
//!    whether it is healthy, whether its circuit lets the attempt through, and whether it has room.
//! 6. `worker::dial` takes an idle connection or opens one, and handles the event that results.
//! 7. The new head lies in a block beside the ring; the pump sends head and body bytes together, with one write.
//! 8. `session::stream` runs two `half::Half`s, up and down: look at new bytes, mark them as checked, send them. Bodies pass through
//!    in place. Long runs that need no look bypass the ring (`worker::bulk`), the longest ones through a pipe of the kernel.
//! 9. When the answer is complete it is counted, the upstream connection is kept or closed, and only then its last bytes are
//!    sent; the access log gets its line, and the session is ready for the next head.
//!
//! A failed attempt is reported to its server's circuit (`session::retry`). Where the request may be sent again, it goes back to
//! step 5 after a wait. A place that becomes free goes to the first in its pool's queue, in whatever worker (`worker::line`).
//!
//! # What the code does not do
//!
//! `session` opens no socket and reads no clock. `base` knows no HTTP. `http` allocates nothing for a field. Nothing blocks a
//! loop: name look-ups, pages of the admin port and log files have threads of their own. `unsafe` is denied, except for one question
//! to the kernel in `net::sys`. Nothing that comes from the network can panic. Nothing grows without a configured or named bound.

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
