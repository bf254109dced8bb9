//! What an exchange says to the back that takes its request. Each back writes it in its own protocol.

use super::flow::Flow;
use crate::http::forwarded::RequestAdditions;
use crate::http::request::Request;

/// An upstream, as an exchange sees it. What is written goes into the exchange's flow to the upstream, where it stays for another attempt.
pub trait NextHop {
    /// The head of the request, which is forwarded with these additions. Its content follows in the flow.
    fn request(&mut self, up: &mut Flow, request: &Request, additions: &RequestAdditions);
}
