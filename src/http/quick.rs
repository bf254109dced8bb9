//! Heads of the shape that nearly all have, read in one pass: `GET /target HTTP/1.1`, lines of `name: value`, CRLF everywhere, no
//! other blanks, complete, and within the limits.
//!
//! Nothing is refused here. A head of another shape is left to [`HeadScan`](super::scan::HeadScan) and the complete parser, which
//! find out what is missing or wrong. Whatever is accepted here they accept with the same result; the fuzz targets compare them.

use super::HeadLimits;
use super::fields::{Field, classify, is_target, is_token};
use super::head::FieldSpan;
use crate::base::steps;

/// `method SP target SP HTTP/1.1`: method, target, and where the fields begin.
pub(super) fn request_line<'a>(bytes: &'a [u8], limits: &HeadLimits) -> Option<(&'a str, &'a [u8], usize)> {
    let method = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
        .into_iter()
        .find(|method| bytes.starts_with(method.as_bytes()) && bytes.get(method.len()) == Some(&b' '))?;
    let rest = &bytes[method.len() + 1..];
    steps::count(rest.len().min(limits.first_line));
    let (target, after) = rest.split_at(find(rest, b' ')?);
    let start = method.len() + 1 + target.len() + b" HTTP/1.1\r\n".len();
    let is_usual = !target.is_empty() && is_target(target) && after.starts_with(b" HTTP/1.1\r\n") && start - 2 <= limits.first_line;
    is_usual.then_some((method, target, start))
}

/// `HTTP/1.1 SP status SP reason`: status, reason, and where the fields begin.
pub(super) fn status_line<'a>(bytes: &'a [u8], limits: &HeadLimits) -> Option<(u16, &'a [u8], usize)> {
    let &[a, b, c, b' ', ref rest @ ..] = bytes.strip_prefix(b"HTTP/1.1 ")? else { return None };
    let digit = |b: u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
    let status = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    let (reason, after) = rest.split_at(clean(rest));
    let start = b"HTTP/1.1 200 \r\n".len() + reason.len();
    let is_usual = after.starts_with(b"\r\n") && start - 2 <= limits.first_line;
    is_usual.then_some((status, reason, start))
}

/// The lines from `at` to the empty one: their number, and where the head ends.
pub(super) fn fields(bytes: &[u8], mut at: usize, limits: &HeadLimits, spans: &mut [FieldSpan]) -> Option<(usize, usize)> {
    for (number, span) in spans.iter_mut().enumerate() {
        let line = bytes.get(at..)?;
        if let [b'\r', end, ..] = line {
            let is_within = number <= limits.lines && at + 2 <= limits.total;
            return (*end == b'\n' && is_within).then_some((number, at + 2));
        }
        let (name, rest) = line.split_at(find(line, b':')?);
        let class = classify(name);
        let value = rest.strip_prefix(b": ")?;
        let length = clean(value);
        let has_blanks = value[..length].first() == Some(&b' ') || value[..length].last() == Some(&b' ');
        let end = name.len() + 2 + length;
        steps::count(end);
        // A name that was recognised by all its bytes is a token.
        let is_name = !matches!(class, Field::Other | Field::LookAlike | Field::Forwarding) || is_token(name);
        if has_blanks || !is_name || end > limits.line || !value[length..].starts_with(b"\r\n") {
            return None;
        }
        let place = |offset: usize| (at + offset) as u32;
        *span = FieldSpan { start: place(0), name: place(name.len()), value: place(name.len() + 2), end: place(end), class };
        at += end + 2;
    }
    None
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// Sets the high bit of the lowest byte that is 0; bits above that one may be wrong.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The first byte that is flagged; `flags` tests eight bytes as `is_it` tests one.
#[inline(always)]
fn first(bytes: &[u8], flags: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> Option<usize> {
    let mut n = 0;
    while let Some(eight) = bytes[n..].first_chunk() {
        let flags = flags(u64::from_le_bytes(*eight));
        if flags != 0 {
            return Some(n + flags.trailing_zeros() as usize / 8);
        }
        n += 8;
    }
    bytes[n..].iter().position(|&b| is_it(b)).map(|at| n + at)
}

fn find(bytes: &[u8], needle: u8) -> Option<usize> {
    first(bytes, |word| zeros(word ^ (ONES * u64::from(needle))), |b| b == needle)
}

/// How many bytes from the front may stand in a field value, tabs excepted: visible ones, spaces, obs-text.
fn clean(bytes: &[u8]) -> usize {
    let flags = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & HIGHS | zeros(word ^ (ONES * 0x7f));
    first(bytes, flags, |b| b < b' ' || b == 0x7f).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_runs_end_where_a_plain_loop_ends() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(0x20..0x7f)).collect();
            for _ in 0..rng.usize(0..3) {
                let at = rng.usize(0..=bytes.len());
                bytes.insert(at, [0, 9, 13, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0xff][rng.usize(0..9)]);
            }
            let plain = bytes.iter().position(|&b| b < b' ' || b == 0x7f).unwrap_or(bytes.len());
            assert_eq!(clean(&bytes), plain, "{bytes:?}");
        }
    }
}
