//! Escaping for log lines. No byte from a client reaches a log unescaped if it could end a line, close a quote, or control the
//! terminal that shows the log.

use std::fmt;

/// Escapes as Apache does (`ap_escape_logitem`): `\"` and `\\`, the usual letters for `\n` `\r` `\t` `\b` `\v`, and `\xNN` for every
/// other byte that is not printable ASCII. For text between double quotes or, if it has no space, without quotes.
pub fn quoted(bytes: &[u8], out: &mut Vec<u8>) {
    runs(bytes, &NOT_PLAIN, out, |rest, out| {
        match rest[0] {
            b @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', b]),
            b => control(b, out),
        }
        1
    });
}

/// The inside of a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 are read as Latin-1, as in old HTTP: each
/// becomes `\u00NN`, so that the string is valid whatever the bytes. DEL and the C1 controls are escaped too.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        runs(chunk.valid().as_bytes(), &NOT_JSON, out, |rest, out| match *rest {
            // U+0080 to U+009F are C2 80 to C2 9F.
            [0xC2, c1 @ 0x80..=0x9F, ..] => {
                unicode(c1, out);
                2
            }
            [0xC2, ..] => {
                out.push(0xC2);
                1
            }
            [b @ (b'"' | b'\\'), ..] => {
                out.extend_from_slice(&[b'\\', b]);
                1
            }
            [b, ..] => {
                unicode(b, out);
                1
            }
            [] => 0,
        });
        for &b in chunk.invalid() {
            unicode(b, out);
        }
    }
}

/// A diagnostic's message, in which a client's text may be quoted. Quotes and letters of any script stay; controls are escaped as
/// by [`quoted`].
pub(super) struct Message<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        runs(text.as_bytes(), &NOT_MESSAGE, self.0, |rest, out| match *rest {
            [0xC2, c1 @ 0x80..=0x9F, ..] => {
                control(c1, out);
                2
            }
            [0xC2, ..] => {
                out.push(0xC2);
                1
            }
            _ => {
                control(rest[0], out);
                1
            }
        });
        Ok(())
    }
}

/// Copies `bytes`; at each byte that `special` marks, `escape` handles the front of the rest, and returns how many bytes it has used.
fn runs(mut bytes: &[u8], special: &[bool; 256], out: &mut Vec<u8>, escape: impl Fn(&[u8], &mut Vec<u8>) -> usize) {
    while let Some(at) = bytes.iter().position(|&b| special[b as usize]) {
        out.extend_from_slice(&bytes[..at]);
        bytes = &bytes[at..];
        bytes = &bytes[escape(bytes, out)..];
    }
    out.extend_from_slice(bytes);
}

fn control(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0B => out.extend_from_slice(b"\\v"),
        b => out.extend_from_slice(&[b'\\', b'x', hex(b >> 4), hex(b & 15)]),
    }
}

fn unicode(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[nibble as usize]
}

const fn table(quotes: bool, high: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        table[b] =
            byte.is_ascii_control() || (quotes && (byte == b'"' || byte == b'\\')) || (if high { !byte.is_ascii() } else { byte == 0xC2 });
        b += 1;
    }
    table
}

const NOT_PLAIN: [bool; 256] = table(true, true);
const NOT_JSON: [bool; 256] = table(true, false);
const NOT_MESSAGE: [bool; 256] = table(false, false);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn text(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quoted_is_apaches() {
        assert_eq!(text(quoted, b"/a?b=c d"), "/a?b=c d");
        assert_eq!(text(quoted, b"\x1b[31m\"\\\r\n\t\x08\x0b\x00\x7f\xff"), r#"\x1b[31m\"\\\r\n\t\b\v\x00\x7f\xff"#);
        assert_eq!(text(quoted, "ü".as_bytes()), r"\xc3\xbc");
    }

    #[test]
    fn every_byte_alone_and_in_pairs_is_valid_json() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let escaped = text(json, &[a, b]);
                assert!(escaped.bytes().all(|b| b >= 0x20 && b != 0x7f), "{escaped:?}");
                let read: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
                let meant = match std::str::from_utf8(&[a, b]) {
                    Ok(text) => text.to_owned(),
                    Err(_) => [a as char, b as char].iter().collect(),
                };
                assert_eq!(read, meant);
            }
        }
    }

    #[test]
    fn a_message_keeps_its_script_and_loses_its_controls() {
        let mut out = Vec::new();
        write!(Message(&mut out), "größe \"x\" \\ a\nb\u{1b}[0m\u{9b}2J").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "größe \"x\" \\ a\\nb\\x1b[0m\\x9b2J");
    }
}
