//! Black-box tests: an origin and a client, both scripted down to the byte, and between them the real binary with real sockets.
//! Each test asserts what a user on either side would notice. Ports are free ones; tests wait for conditions instead of fixed times
//! where possible, and no upper bound on a duration is tight.

mod support;

mod plays {
    mod admin;
    mod backpressure;
    mod balance;
    mod balancing;
    mod blame;
    mod breaker;
    mod breaker_trials;
    mod broken_origin;
    mod check;
    mod checks;
    mod checks_end;
    mod cli;
    mod clock;
    mod delivery;
    mod demo;
    mod desync;
    mod doors;
    mod drain;
    mod ending;
    mod fields;
    mod floods;
    mod foreign;
    mod forward;
    mod framing;
    mod frozen;
    mod greedy;
    mod half_close;
    mod hygiene;
    mod lenient;
    mod limits;
    mod log_targets;
    mod logs;
    mod matching;
    mod mistaken_heads;
    mod mistakes;
    mod names;
    mod observing;
    mod outage;
    mod pages;
    mod places;
    mod processes;
    mod rate;
    mod reload;
    mod reload_listeners;
    mod reload_settings;
    mod retry;
    mod retry_limits;
    mod retry_uploads;
    mod reuse;
    mod routes;
    mod sizes;
    mod slowloris;
    mod slowness;
    mod stalled;
    mod start;
    mod strays;
    mod streaming;
    mod timeouts;
    mod tunnel;
    mod unix_sockets;
    mod waiting;
    mod watch;
    mod websocket;
}
