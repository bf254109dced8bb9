//! Error answers: why a request was refused or failed, in the vocabulary of [`Reason`].

use super::Answer;
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
    /// Appends the whole answer; the reason determines its status.
    pub fn write(&self, out: &mut Vec<u8>, frame: Answer) {
        let (status, name) = (self.reason.status(), self.reason.name());
        let mut fields = format!("Proxy-Status: {NAME}; error={name}\r\n");
        if let Some(seconds) = self.retry_after.or((status == 503 || status == 429).then_some(RETRY_AFTER)) {
            fields.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        if self.reason == Reason::MethodNotAllowed {
            fields.push_str("Allow: GET, HEAD\r\n");
        }
        let (content_type, content) = if self.json {
            let mut content = serde_json::json!({"status": status, "error": name});
            self.detail.into_iter().for_each(|detail| content["detail"] = detail.into());
            content["trace_id"] = frame.trace_id.into();
            ("application/json", format!("{content}\n"))
        } else {
            let content = match self.detail {
                Some(detail) => format!("{status} {name}: {detail}\n"),
                None => format!("{status} {name}: trace_id={}\n", frame.trace_id),
            };
            ("text/plain; charset=utf-8", content)
        };
        Answer { status, content_type, ..frame }.write(out, &fields, content.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_in_text_and_in_json() {
        let frame = Answer { status: 0, content_type: "", minor: 1, persists: false, to_head: false, date: b"now", trace_id: "t" };
        let page =
            ErrorPage { reason: Reason::ConnectionRefused, detail: Some("a:1 refused the connection"), json: false, retry_after: None };
        let mut out = Vec::new();
        page.write(&mut out, frame);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && text.contains("\r\nProxy-Status: tidegate; error=connection_refused\r\n")
        );
        assert!(text.ends_with("X-Trace-ID: t\r\n\r\n502 connection_refused: a:1 refused the connection\n"));
        let mut out = Vec::new();
        ErrorPage { json: true, ..page }.write(&mut out, Answer { to_head: true, ..frame });
        assert!(String::from_utf8(out).unwrap().contains("application/json"));
        for (json, content) in [
            (false, "502 connection_refused: trace_id=t\n"),
            (true, "{\"status\":502,\"error\":\"connection_refused\",\"trace_id\":\"t\"}\n"),
        ] {
            let mut out = Vec::new();
            ErrorPage { json, detail: None, ..page }.write(&mut out, frame);
            assert!(String::from_utf8(out).unwrap().ends_with(&format!("\r\n\r\n{content}")));
        }
    }

    #[test]
    fn says_when_to_try_again() {
        let frame = Answer { status: 0, content_type: "", minor: 1, persists: true, to_head: false, date: b"now", trace_id: "t" };
        let said = |reason, retry_after| {
            let mut out = Vec::new();
            ErrorPage { reason, detail: None, json: false, retry_after }.write(&mut out, frame);
            let text = String::from_utf8(out).unwrap();
            text.lines().find_map(|line| line.strip_prefix("Retry-After: ")).map(str::to_owned)
        };
        assert_eq!(said(Reason::RateLimited, Some(30)).as_deref(), Some("30"));
        assert_eq!(said(Reason::Draining, None).as_deref(), Some("1"));
        assert_eq!(said(Reason::ConnectionRefused, None), None);
    }
}
