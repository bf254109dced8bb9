//! Black-box tests: an origin and a client, both scripted down to the byte, and between them the real binary with real sockets.
//! Each test asserts what a user on either side would notice. Ports are free ones; tests wait for conditions instead of fixed times
//! where possible, and no upper bound on a duration is tight.
//!
//! `http` is about messages and what becomes of them, `upstream` about pools and their servers, `limits` about clients that want too
//! much or take too long, `lifecycle` about the process from its start through reloads to its end, `observe` about logs and the
//! admin port, `tls` about encryption, `config` about where the configuration comes from and what is said of it.

mod support;

mod plays {
    mod config {
        mod check_command;
        mod command_line;
        mod demo;
    }
    mod http {
        mod backpressure;
        mod delivery;
        mod fields;
        mod forwarding;
        mod half_close;
        mod known_vulnerabilities;
        mod known_vulnerabilities_in_heads;
        mod malformed_requests;
        mod malformed_responses;
        mod other_protocols;
        mod persistent_connections;
        mod proxy_protocol;
        mod request_smuggling;
        mod routing;
        mod routing_by_normal_form;
        mod streaming;
        mod tunnel;
        mod unsolicited_responses;
        mod valid_but_unusual;
        mod websocket;
    }
    mod lifecycle {
        mod clock_jumps;
        mod paused_process;
        mod pid_file;
        mod reload_listeners;
        mod reload_requests;
        mod reload_settings;
        mod reload_watched_files;
        mod several_processes;
        mod shutdown;
        mod shutdown_modes;
        mod start;
        mod unix_sockets;
    }
    mod limits {
        mod connections;
        mod connections_of_a_client;
        mod floods;
        mod greedy_clients;
        mod idle_clients;
        mod leaks;
        mod rate;
        mod sizes;
        mod slow_clients;
        mod stalled_clients;
        mod timeouts;
        mod timeouts_name_the_slow_side;
    }
    mod observe {
        mod access_log_contents;
        mod access_log_formats;
        mod admin_pages;
        mod admin_port;
        mod diagnostics;
        mod failing_log_targets;
        mod log_files;
        mod metrics;
    }
    mod tls {
        mod begun_handshakes;
        mod connections;
        pub mod handshakes;
        mod real_clients;
        mod renewal;
    }
    mod upstream {
        mod addresses;
        mod backups;
        mod balancing_algorithms;
        mod breaker_closes;
        mod breaker_ignores_clients;
        mod breaker_opens;
        mod health_check_contents;
        mod health_checks;
        mod health_checks_end;
        mod health_checks_of_a_pool;
        mod name_resolution;
        mod outages;
        mod places_for_whole_requests;
        mod queue;
        mod retry_eligibility;
        mod retry_limits;
        mod retry_uploads;
        mod round_robin;
        mod send_proxy;
        mod srv;
        mod sticky;
        mod tls;
        mod tls_failures;
        mod tls_settings;
    }
}
