//! tidegate: an HTTP reverse proxy and load balancer. This is the map of the code.
//!
//! One worker thread is one `mio::Poll` and one loop. A worker owns a table of client connections, one of exchanges, and one of
//! upstream connections; its listeners, its waker and the admin listener are ordinary tokens of the same loop. N workers
//! bind sockets of their own to one port (SO_REUSEPORT), and so can several processes. The first worker also has the
//! admin port and the health checks of all upstreams. Workers share an immutable [`site::Site`] and a little state made of atomics;
//! nothing else.
//!
//! ```text
//!     client socket - Transport - Front - Exchange -.- Back - Transport - upstream socket
//!                                                   |- made here: an error, respond, echo
//!                                                   |- an admin page, rendered on a helper thread
//!                                                   `- a producer, such as a file
//! ```
//!
//! Each has one authority:
//!
//! - [`net::transport`] moves bytes. It alone knows readiness, prefaces and handshakes, and how a close is said.
//! - [`front`] is a client's connection: it reads heads and content, writes answers in its protocol, and knows keep-alive, pipelining,
//!   draining and lingering. It knows no upstream.
//! - [`exchange`] is one request and its answer: route, attempts, deadlines, what is counted and logged. It knows neither a wire format
//!   nor a socket; what it says to the client goes through a [`machine::recipient::Recipient`].
//! - [`source`] is where an answer comes from that no upstream gives. It fills the exchange's flow to the client piece by piece, as the
//!   client takes it.
//! - [`back`] is an upstream connection: the addresses that are tried, the exchanges that it carries, how long it idles, how a request
//!   is written, which it is told through a [`machine::next_hop::NextHop`], and what is known of the answer. What it holds of the upstream is a [`upstream::lease::Lease`], given back by `Drop`.
//!
//! None of these three machines touches a socket or knows another: an event comes in, the state moves, effects are left behind, and
//! bytes lie in bounded rings, one for each direction. They meet in [`session`]. Around it a thin shell, [`worker`], fills rings from
//! transports, flushes them to transports and performs effects. The shell's core is generic over its transports, so that the
//! simulation in `tests/sim.rs` drives the very code that runs in production, without a network and without a clock.
//!
//! # Floors
//!
//! A module imports only from floors below it, and not sideways; `tests/architecture.rs` holds the code to this. Files of a room form
//! no circles either.
//!
//! ```text
//!     main   cli
//!     server                        threads, signals, listening addresses, the end
//!     worker                        the only place where transports and machines meet
//!     session        |  net         where the machines meet  |  transports, poll     (neither sees the other)
//!     front | exchange | back       pure state machines                              (none sees another)
//!     machine                       what they share: flows, the turn, effects, failures
//!     source                        where the content of an answer lies, and how it is produced
//!     answer  admin                 replies made here  |  the admin port's pages
//!     site                          a configuration with what runs by it
//!     upstream                      pools and servers
//!     route  balance  guard  health policy: pure, asked once an attempt
//!     http   config   observe       HTTP/1 grammar and framing | configuration | metrics and logs
//!     tls                           certificates, tickets, and what handshakes go by: knows no connection
//!     base                          ring, timer wheel, buffers, clock, addresses, mail between threads: knows no HTTP
//! ```
//!
//! # A request on its way
//!
//! 1. The poll yields a token; [`worker`] matches it: listener, waker, client, upstream.
//! 2. `worker::accept` claims a place among the listening address's connections and a descriptor, and fills a slot with a front.
//! 3. `worker::pump` fills the front's ring from the client's transport and tells the session.
//! 4. `front::h1` parses the head (`http::quick` heads of the usual shape, httparse the fields of others). An exchange begins, which
//!    `exchange::open` routes by the normal form of the target (`http::target`): to an upstream's pool, for which `back::h1` writes
//!    the new head; or to an answer made here. The ring goes with it.
//! 5. `exchange::connect` asks [`upstream::pool::Pool::pick`] once, and leaves an effect: connect, or wait in the pool's queue. Where
//!    places are scarce, it does so only once the request's content is there. The pool asks its balancing algorithm, and each server
//!    whether it is healthy, whether its circuit lets the attempt through, and whether it has room.
//! 6. `worker::reuse` takes an idle connection, or has `worker::dial` open one, and the event that results is handled.
//! 7. The new head lies in a block beside the ring; the pump sends head and body bytes together, with one write.
//! 8. `back::h1` reads the answer's head, `exchange::stream` decides what becomes of it, the front writes it. Bodies pass through the
//!    exchange's two flows in place: look at new bytes, mark them as checked, send them. Long runs that need no look bypass the ring
//!    (`worker::bulk`), the longest ones through a pipe of the kernel.
//! 9. When the answer is complete it is counted, the upstream connection is kept or closed, and only then its last bytes are
//!    sent; the access log gets its line, the exchange ends, and the front is ready for the next head.
//!
//! A failed attempt is reported to its server's circuit (`exchange::retry`). Where the request may be sent again, it goes back to
//! step 5 after a wait. A place that becomes free goes to the first in its pool's queue, in whatever worker (`worker::queue`).
//!
//! # What the code does not do
//!
//! No machine opens a socket or reads a clock. `base` knows no HTTP. `http` allocates nothing for a field. Nothing blocks a
//! loop: name look-ups, pages of the admin port and log files have threads of their own. `unsafe` is denied, except for one question
//! to the kernel in `net::sys`. Nothing that comes from the network can panic. Nothing grows without a configured or named bound.

pub mod admin;
pub mod answer;
pub mod back;
pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod exchange;
pub mod front;
pub mod guard;
pub mod health;
pub mod http;
pub mod machine;
pub mod net;
pub mod observe;
pub mod route;
pub mod server;
pub mod session;
pub mod site;
pub mod source;
pub mod tls;
pub mod upstream;
pub mod worker;
