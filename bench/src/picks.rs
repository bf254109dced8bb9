//! `make bench-picks`: the instructions of a request, counted as `make bench-gate` does, for each way of balancing over 1, 10, 100
//! and 1,000 upstreams. The cost of a pick is what a row grows by.

use std::io;
use std::path::Path;

use crate::gate;
use crate::proxies::{ALL, Found};

const SERVERS: [u64; 4] = [1, 10, 100, 1000];

/// As in a configuration, and whether a thousand may cost as much as looking at each does.
const WAYS: [(&str, bool); 6] = [
    ("round_robin", false),
    ("weighted", false),
    ("consistent_hash", false),
    ("adaptive", false),
    ("random", false),
    ("least_connections", true),
];

/// How many instructions a thousand upstreams may add to what ten cost: less than two for each of them.
const MOST: u64 = 2000;

/// Prints the table. Returns whether the ways that should be sub-linear are.
pub fn run(tidegate: &Path) -> io::Result<bool> {
    let found = Found::find(&ALL[0], tidegate).ok_or_else(|| io::Error::other("no tidegate"))?;
    println!("| upstreams | {} |\n| --- |{}", SERVERS.map(|servers| servers.to_string()).join(" | "), " ---: |".repeat(SERVERS.len()));
    let mut are_good = true;
    for (way, is_linear) in WAYS {
        let mut row = [0; SERVERS.len()];
        for (each, servers) in row.iter_mut().zip(SERVERS) {
            // The first requests open connections to all upstreams.
            *each = gate::each(&found, &configuration(found.proxy.configuration, way, servers), 300 + 8 * servers)?;
        }
        println!("| {way} | {} |", row.map(|each| each.to_string()).join(" | "));
        let is_good = is_linear || row[3] <= row[1] + MOST;
        if !is_good {
            println!("{way}: a thousand upstreams cost more than {MOST} instructions more than ten");
        }
        are_good &= is_good;
    }
    Ok(are_good)
}

/// The usual one, with so many upstreams, which are one origin under different names.
fn configuration(usual: &str, way: &str, servers: u64) -> String {
    let weight = |server| if way == "weighted" { 1 + server % 3 } else { 1 };
    let upstream = |server| format!("  - {{ host: \"127.0.0.1\", port: @UPSTREAM@, name: \"s{server}\", weight: {} }}\n", weight(server));
    let upstreams: String = (0..servers).map(upstream).collect();
    let one = "  - { host: \"127.0.0.1\", port: @UPSTREAM@ }\n";
    format!("{}balance: {way}\n", usual.replace(one, &upstreams))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_configuration_gets_upstreams() {
        let text = configuration(ALL[0].configuration, "weighted", 3);
        assert_eq!((text.matches("@UPSTREAM@").count(), text.matches("weight: 2").count()), (3, 1));
    }
}
