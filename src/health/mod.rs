//! Active health checks: what is sent, what the answer means, and what several outcomes in a row mean. No socket, no clock.

pub mod body;
pub mod check;
pub mod probe;
pub mod state;

#[cfg(test)]
pub(crate) mod tests {
    use crate::config::model::HealthCheck;

    /// The defaults, except that the path is `/up`, and two failures are enough.
    pub fn check() -> HealthCheck {
        HealthCheck {
            path: "/up".into(),
            method: "GET".into(),
            host: None,
            headers: Vec::new(),
            port: None,
            interval_ms: 5000,
            timeout_ms: 1000,
            failure_threshold: 2,
            success_threshold: 2,
            expected_status: (200, 399),
            expected_body: None,
            fail_open: false,
        }
    }
}
