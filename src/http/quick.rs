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
    let (target, after) = rest.split_at(find(rest, 0, b' ')?);
    let start = method.len() + 1 + target.len() + b" HTTP/1.1\r\n".len();
    let is_usual = !target.is_empty() && is_target(target) && after.starts_with(b" HTTP/1.1\r\n") && start - 2 <= limits.first_line;
    is_usual.then_some((method, target, start))
}

/// `HTTP/1.1 SP status SP reason`: status, reason, and where the fields begin.
pub(super) fn status_line<'a>(bytes: &'a [u8], limits: &HeadLimits) -> Option<(u16, &'a [u8], usize)> {
    let &[a, b, c, b' ', ref rest @ ..] = bytes.strip_prefix(b"HTTP/1.1 ")? else { return None };
    let digit = |b: u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
    let status = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    let (reason, after) = rest.split_at(clean(rest, 0)?);
    let start = b"HTTP/1.1 200 \r\n".len() + reason.len();
    let is_usual = after.starts_with(b"\r\n") && start - 2 <= limits.first_line;
    is_usual.then_some((status, reason, start))
}

/// The lines from `at` to the empty one: their number, and where the head ends.
pub(super) fn fields(bytes: &[u8], mut at: usize, limits: &HeadLimits, spans: &mut [FieldSpan]) -> Option<(usize, usize)> {
    for (number, span) in spans.iter_mut().enumerate() {
        if let [b'\r', last, ..] = bytes.get(at..)? {
            let is_within = number <= limits.lines && at + 2 <= limits.total;
            return (*last == b'\n' && is_within).then_some((number, at + 2));
        }
        let colon = find(bytes, at, b':')?;
        let name = &bytes[at..colon];
        let class = classify(name);
        // A name that was recognised by all its bytes is a token.
        if matches!(class, Field::Other | Field::LookAlike | Field::Forwarding) && !is_token(name) {
            return None;
        }
        if bytes.get(colon + 1) != Some(&b' ') {
            return None;
        }
        let start = colon + 2;
        let end = clean(bytes, start)?;
        steps::count(end - at);
        let value = &bytes[start..end];
        if value.starts_with(b" ") || value.ends_with(b" ") || end - at > limits.line || !bytes[end..].starts_with(b"\r\n") {
            return None;
        }
        *span = FieldSpan { start: at as u32, name: colon as u32, value: start as u32, end: end as u32, class };
        at = end + 2;
    }
    None
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// Sets the high bit of the lowest byte that is 0; bits above that one may be wrong.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Where the first byte from `at` on is that `flags` finds. In a word of eight bytes, it sets the high bit of the lowest one. The bytes
/// are followed by zeros, as far as it sees; fewer than eight bytes are not searched.
#[inline(always)]
fn first(bytes: &[u8], at: usize, flags: impl Fn(u64) -> u64) -> Option<usize> {
    let mut n = at;
    while let Some(eight) = bytes.get(n..)?.first_chunk() {
        let flags = flags(u64::from_le_bytes(*eight));
        if flags != 0 {
            return Some(n + flags.trailing_zeros() as usize / 8);
        }
        n += 8;
    }
    // The last word, without what of it was searched before.
    let left = bytes.len() - n;
    let flags = flags(u64::from_le_bytes(*bytes.last_chunk()?).unbounded_shr(64 - 8 * left as u32));
    (flags != 0).then_some(n + flags.trailing_zeros() as usize / 8)
}

fn find(bytes: &[u8], at: usize, needle: u8) -> Option<usize> {
    first(bytes, at, |word| zeros(word ^ (ONES * u64::from(needle))))
}

/// The end of the bytes from `at` on that may stand in a field value, tabs excepted: visible ones, spaces, obs-text.
fn clean(bytes: &[u8], at: usize) -> Option<usize> {
    first(bytes, at, |word| word.wrapping_sub(ONES * 0x20) & !word & HIGHS | zeros(word ^ (ONES * 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_show_what_a_plain_loop_finds() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(0x20..0x7f)).collect();
            for _ in 0..rng.usize(0..3) {
                let at = rng.usize(0..=bytes.len());
                bytes.insert(at, [0, 9, 13, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0xff][rng.usize(0..9)]);
            }
            let at = rng.usize(0..=bytes.len());
            let plain = bytes[at..].iter().position(|&b| b < b' ' || b == 0x7f).map_or(bytes.len(), |n| at + n);
            assert_eq!(clean(&bytes, at), (bytes.len() >= 8).then_some(plain), "{bytes:?} from {at}");
            let needle = bytes.get(at).copied().unwrap_or(b':');
            let plain = bytes[at / 2..].iter().position(|&b| b == needle).map(|n| at / 2 + n);
            assert_eq!(find(&bytes, at / 2, needle), plain.filter(|_| bytes.len() >= 8), "{bytes:?} from {}", at / 2);
        }
    }
}
