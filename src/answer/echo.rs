//! The `echo` action: answers with what it received, for demos and debugging.

use crate::base::text::push_decimal;

/// Writes the content that comes before the request's body: the name, then the head as it was received.
pub fn begin(out: &mut Vec<u8>, name: &str, head: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    // The head includes the empty line at its end.
    out.extend(head.iter().filter(|&&b| b != b'\r'));
}

/// Ends the content, once the length of the body is known.
pub fn end(out: &mut Vec<u8>, body_bytes: u64) {
    out.extend_from_slice(b"body: ");
    push_decimal(out, body_bytes);
    out.extend_from_slice(b" bytes\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_itself_and_repeats_the_request() {
        let mut out = Vec::new();
        begin(&mut out, "b1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        end(&mut out, 7);
        assert_eq!(out, b"b1\nGET / HTTP/1.1\nHost: a\n\nbody: 7 bytes\n");
    }
}
