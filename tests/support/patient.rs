//! An origin that is checked, and what the admin port says of it.

use super::*;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;

/// An origin whose answers to checks a play decides.
pub struct Patient {
    pub origin: Origin,
    status: Arc<AtomicU16>,
}

impl Patient {
    /// Answers requests with its name, and checks with 200 for now.
    pub fn named(name: &'static str) -> Patient {
        let status = Arc::new(AtomicU16::new(200));
        let said = status.clone();
        let origin = Origin::each(move |conn, request| match request.target.as_str() {
            "/health" => conn.send(format!("HTTP/1.1 {} Said\r\nContent-Length: 3\r\n\r\nso.", said.load(SeqCst))),
            _ => conn.answer(name),
        });
        Patient { origin, status }
    }

    pub fn says(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    pub fn checks(&self) -> usize {
        checks(&self.origin)
    }
}

/// Checks that came.
pub fn checks(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.target == "/health").count()
}

/// Often, and with patience: only a play about timeouts has a short one.
pub fn often() -> Value {
    json!({"interval_ms": 20, "timeout_ms": 15_000, "failure_threshold": 2, "success_threshold": 3})
}

pub fn checked(origins: &[&Origin]) -> Config {
    Config::to_all(origins.iter().map(|origin| origin.addr())).set("health_check", often())
}

#[track_caller]
pub fn wait_for(proxy: &Proxy, index: usize, state: &str) {
    wait_until(&format!("upstream {index} is {state}"), || proxy.backend(index)["health_check"] == state);
}

pub fn health(proxy: &Proxy) -> (u16, Value) {
    let answer = get(proxy.admin(), "/health");
    (answer.status, serde_json::from_slice::<Value>(&answer.body).expect("JSON"))
}
