//! Error answers: why a request was refused or failed, in the vocabulary of [`Reason`].

use crate::http::NAME;
use crate::observe::reason::Reason;

/// The content of an error answer.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// Why the request was refused or failed.
    pub reason: Reason,
    /// What happened and where, for a person; `None` where the client must not learn it.
    pub detail: Option<&'a str>,
    /// Whether the client accepts JSON and no text.
    pub json: bool,
    /// Seconds after which another try makes sense, where that is known.
    pub retry_after: Option<u32>,
}

/// `Retry-After` in seconds of a 503 or 429 where nothing better is known.
const RETRY_AFTER: u32 = 1;

impl ErrorPage<'_> {
    /// The value of `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "text/plain; charset=utf-8" }
    }

    /// Its fields as complete lines, and its content; the reason determines its status.
    pub fn write(&self, trace_id: &str) -> (String, String) {
        let (status, name) = (self.reason.status(), self.reason.name());
        let mut fields = format!("Proxy-Status: {NAME}; error={name}\r\n");
        if let Some(seconds) = self.retry_after.or((status == 503 || status == 429).then_some(RETRY_AFTER)) {
            fields.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        if self.reason == Reason::MethodNotAllowed {
            fields.push_str("Allow: GET, HEAD\r\n");
        }
        let content = if self.json {
            let mut content = serde_json::json!({"status": status, "error": name});
            self.detail.into_iter().for_each(|detail| content["detail"] = detail.into());
            content["trace_id"] = trace_id.into();
            format!("{content}\n")
        } else {
            match self.detail {
                Some(detail) => format!("{status} {name}: {detail}\n"),
                None => format!("{status} {name}: trace_id={trace_id}\n"),
            }
        };
        (fields, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, Frame};

    /// The page as HTTP/1 text.
    fn text(page: ErrorPage) -> String {
        let (fields, content) = page.write("t");
        let status = page.reason.status();
        let answer = Answer { status, content_type: page.content_type(), fields: &fields, length: Some(content.len() as u64) };
        let mut out = Vec::new();
        answer.write(&mut out, Frame { minor: 1, persists: false, date: b"now", trace_id: b"t" });
        String::from_utf8(out).unwrap() + &content
    }

    #[test]
    fn says_why_in_text_and_in_json() {
        let page =
            ErrorPage { reason: Reason::ConnectionRefused, detail: Some("a:1 refused the connection"), json: false, retry_after: None };
        let plain = text(page);
        assert!(
            plain.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && plain.contains("\r\nProxy-Status: tidegate; error=connection_refused\r\n")
        );
        assert!(plain.ends_with("X-Trace-ID: t\r\n\r\n502 connection_refused: a:1 refused the connection\n"));
        assert!(text(ErrorPage { json: true, ..page }).contains("application/json"));
        for (json, content) in [
            (false, "502 connection_refused: trace_id=t\n"),
            (true, "{\"status\":502,\"error\":\"connection_refused\",\"trace_id\":\"t\"}\n"),
        ] {
            assert!(text(ErrorPage { json, detail: None, ..page }).ends_with(&format!("\r\n\r\n{content}")));
        }
    }

    #[test]
    fn says_when_to_try_again() {
        let said = |reason, retry_after| {
            let text = text(ErrorPage { reason, detail: None, json: false, retry_after });
            text.lines().find_map(|line| line.strip_prefix("Retry-After: ")).map(str::to_owned)
        };
        assert_eq!(said(Reason::RateLimited, Some(30)).as_deref(), Some("30"));
        assert_eq!(said(Reason::Draining, None).as_deref(), Some("1"));
        assert_eq!(said(Reason::ConnectionRefused, None), None);
    }
}
