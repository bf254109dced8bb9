//! Heads as they are forwarded: always with line ends and framing fields of our own, whatever came in (RFC 9110 7.6).

mod fields;
mod forwarding;
mod request;
mod response;

pub use fields::{push_connection, push_content_length, push_date};
pub use request::{asked_for, put_host, remove_cookie, request_head};
pub use response::{ResponseAdditions, response_head};
