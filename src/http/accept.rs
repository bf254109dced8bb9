//! Whether the sender of a request wants an error as JSON or as text.

use crate::base::text;

/// What the `Accept` fields say, as far as the form of an error answer depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accept {
    json: bool,
    text: bool,
}

impl Accept {
    /// Takes one more field.
    pub(super) fn read(&mut self, value: &[u8]) {
        // The value that most clients send.
        if value == b"*/*" {
            self.text = true;
            return;
        }
        for range in text::list(value) {
            if self.text {
                return;
            }
            let range = text::trim(range.split(|&b| b == b';').next().unwrap_or_default());
            self.json |= range.eq_ignore_ascii_case(b"application/json");
            self.text |= range == b"*/*" || range.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/"));
        }
    }

    /// Whether the client accepts JSON and no text.
    pub(super) fn wants_json(self) -> bool {
        self.json && !self.text
    }
}

/// Whether the sender of a head that could not be parsed prefers its error as JSON.
pub fn wants_json(head: &[u8]) -> bool {
    let mut accept = Accept::default();
    for line in head.split(|&b| b == b'\n') {
        if line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"accept:")) {
            accept.read(line[7..].trim_ascii());
        }
    }
    accept.wants_json()
}
