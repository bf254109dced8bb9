//! A keep-alive request in steady state allocates nothing on the worker's thread, access log and rate limits included.
//!
//! The server runs inside this test, so that its allocator can be counted, thread by thread.

// A global allocator cannot be written without `unsafe`.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use support::{Client, Origin, free_port, wait_until};
use tidegate::cli::{self, Call};

mod support;

/// Allocations of each thread, by its number in the system.
static COUNTS: [AtomicU64; 1 << 16] = [const { AtomicU64::new(0) }; 1 << 16];

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting only touches a static table.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the conditions of this function, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // SAFETY: gettid has no preconditions and cannot fail.
    let thread = unsafe { libc::gettid() };
    COUNTS[thread as usize % COUNTS.len()].fetch_add(1, Relaxed);
}

fn worker_thread() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().find_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (name.trim() == "worker-0").then(|| task.file_name().to_str()?.parse().ok())?
    })
}

#[test]
fn a_request_in_steady_state_allocates_nothing() {
    let port = free_port();
    let origin = Origin::each(|conn, _| conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello"));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tidegate.yaml");
    let text = format!(
        "{{listen: '127.0.0.1:{port}', metrics_listen: null, workers: 1, upstreams: [{{host: 127.0.0.1, port: {}}}], logging: {{access_log: /dev/null}}, \
         headers: {{trusted_proxies: [127.0.0.1]}}, limits: {{max_conns_per_client: 100}}, \
         rate_limit: {{algorithm: sliding_window, requests_per_second: 1000000, per_client: {{requests_per_second: 1000000}}}}}}",
        origin.port()
    );
    std::fs::write(&config, text).unwrap();
    let args = ["tidegate".into(), "-c".into(), config.into_os_string()];
    let Call::Serve(serve) = cli::parse(args) else { panic!("it is no command that serves") };
    let loaded = serve.load([], Path::new("/").into()).expect("the configuration is accepted");
    thread::spawn(move || tidegate::server::run(loaded, tidegate::server::Signals::hold().unwrap()));

    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("the server listens", || TcpStream::connect(addr).is_ok());
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(addr)).collect();
    let request = b"POST /path?query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 3\r\n\r\nabc";
    let exchange = |client: &mut Client| {
        client.send(request);
        assert_eq!(client.response().expect(200).text(), "hello");
    };
    let mut round = |times: usize| (0..times).for_each(|_| clients.iter_mut().for_each(exchange));
    round(200);
    let counter = &COUNTS[worker_thread().expect("a thread named worker-0") % COUNTS.len()];
    let before = counter.load(Relaxed);
    assert!(before > 0, "the counter counts");
    round(500);
    assert_eq!(counter.load(Relaxed) - before, 0, "allocations in 4000 requests");
}
