//! What remains after requests: no connection, no descriptor, no memory, and no thread that wakes for nothing.

use crate::support::*;
use std::time::Duration;

/// Everything is back where it was: gauges, descriptors.
#[track_caller]
fn expect_calm(proxy: &Proxy, fds: usize) {
    wait_until("no client is counted", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    wait_until("no exchange is counted", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) == 0.0);
    assert_eq!(proxy.metric("proxy_queued_requests", &[]), 0.0);
    wait_until("no descriptor is left over", || {
        let idle = proxy.metric("proxy_upstream_connections", &["state=\"idle\""]) as usize;
        proxy.fds() <= fds + idle + 1 // the scrape's own connection may still be closing
    });
}

#[test]
fn clients_that_reset_at_any_point_leave_nothing_behind() {
    let origin = Origin::each(|conn, request| {
        let n = 1000 * request.body.len().min(200);
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n"));
        conn.send(vec![b'x'; n]);
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let body = "b".repeat(300);
    let request = format!("POST /r HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut dice, fds) = (Dice(42), proxy.fds());
    let round = |dice: &mut Dice| {
        for _ in 0..400 {
            let mut client = proxy.client();
            let sent = dice.below(request.len() + 200).min(request.len()); // often all of it
            client.send(&request[..sent]);
            if sent == request.len() {
                let taken = client.wire.take(dice.below(200_000), &mut Vec::new());
                assert_eq!(taken, Ok(()), "the answer is whole");
            }
            match dice.below(4) {
                0 => drop(client),
                _ => client.reset(),
            }
        }
    };
    round(&mut dice);
    expect_calm(&proxy, fds);
    let rss = proxy.rss_bytes();
    round(&mut dice);
    round(&mut dice);
    expect_calm(&proxy, fds);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 4 << 20, "grew by {growth} bytes");
    proxy.client().post("/after", "x").expect(200);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
}

#[test]
fn origins_that_reset_at_any_point_leave_nothing_behind() {
    let dice = std::sync::Mutex::new(Dice(43));
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", "5\r\nhello\r\n".repeat(100));
    let origin = Origin::each(move |conn, _| {
        let (cut, how) = {
            let mut dice = dice.lock().unwrap();
            (dice.below(answer.len() + 300).min(answer.len()), dice.below(3))
        };
        conn.send(&answer[..cut]);
        match how {
            0 => conn.reset(),
            1 => conn.close(),
            _ if cut < answer.len() => conn.close(),
            _ => {}
        }
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let fds = proxy.fds();
    let mut whole = 0;
    for _ in 0..500 {
        let answer = proxy.get("/");
        match (answer.status, answer.cut) {
            (200, None) => {
                assert_eq!(answer.body.len(), 500);
                whole += 1;
            }
            (200, Some(_)) | (502, None) => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert!(whole > 20, "{whole}");
    expect_calm(&proxy, fds);
    assert_eq!(proxy.metric("proxy_request_duration_seconds_count", &[]), 500.0);
    wait_until("each is logged", || proxy.log_lines().len() == 500);
}

#[test]
fn idle_connections_let_the_workers_sleep() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut clients: Vec<_> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/").expect(200);
    }
    wait_until("each is logged", || proxy.log_lines().len() == 200);
    let before = proxy.sleeps();
    take_time(Duration::from_secs(3)); // over which it is counted
    let after = proxy.sleeps();
    let woken: Vec<_> = before.iter().zip(&after).map(|(b, a)| a - b).collect();
    assert!(before.len() == after.len() && woken.iter().all(|n| *n <= 1), "threads woke {woken:?} times in 3 s");
    for client in &mut clients {
        client.get("/again").expect(200);
    }
}

#[test]
fn threads_are_few_and_known() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/").expect(200);
    }
    assert!(proxy.threads() <= 2 + 4, "{} threads for two workers", proxy.threads());
}
