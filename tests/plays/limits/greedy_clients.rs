//! A client that sends very many requests at once is served, and so are others beside it.

use crate::support::*;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const GREEDY: usize = 150;
/// How many requests each of them has sent and not read the answers of. All of that fits the kernel's buffers.
const PIPELINE: usize = 500;
/// How many requests the other client sends, one after the other.
const ASKED: usize = 10;
/// In one turn of the loop each of them gets a few answers; the other client waits for a turn or two.
const MOST_BETWEEN: f64 = 15_000.0;

fn served(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_responses_total", &["status_class=\"2xx\""])
}

/// Sends as many requests as it can until it is told to stop; each round is answered completely.
fn devour(mut client: Client, is_over: &AtomicBool) {
    let requests = "GET /greedy HTTP/1.1\r\nHost: a\r\n\r\n".repeat(PIPELINE);
    while !is_over.load(SeqCst) {
        client.send(&requests);
        for _ in 0..PIPELINE {
            assert_eq!(client.response().expect(200).text(), "here");
        }
    }
}

#[test]
fn a_neighbour_of_greedy_pipeliners_is_served_while_they_go_on() {
    let routes = json!([{"match": {"path_prefix": "/"}, "respond": {"status": 200, "body": "here"}}]);
    let proxy = Config::new().set("routes", routes).set("workers", 1).set("logging.access_log", json!(null)).start();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut neighbour = proxy.client();
        neighbour.get("/polite").expect(200);
        for _ in 0..GREEDY {
            let (client, is_over) = (proxy.client(), &is_over);
            scope.spawn(move || devour(client, is_over));
        }
        // A test that fails must not leave the clients running.
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("all are at it", || served(&proxy) > (GREEDY * PIPELINE) as f64);
            let before = served(&proxy);
            for _ in 0..ASKED {
                neighbour.get("/polite").expect(200);
            }
            served(&proxy) - before
        }));
        is_over.store(true, SeqCst);
        let between = played.unwrap_or_else(|fault| std::panic::resume_unwind(fault));
        assert!(between > ASKED as f64 + 1.0, "they have stopped");
        assert!(between < ASKED as f64 * MOST_BETWEEN, "{between} answers went to others, {ASKED} to the neighbour");
    });
}
