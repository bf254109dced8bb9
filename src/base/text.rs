//! Writing numbers and comparing text without allocating.

use super::steps;

/// Appends a decimal number.
pub fn push_decimal(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends a hexadecimal number in lower case, without leading zeros.
pub fn push_hex(out: &mut Vec<u8>, n: u64) {
    let digits = (64 - (n | 1).leading_zeros()).div_ceil(4);
    for i in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(n >> (4 * i)) as usize & 15]);
    }
}

/// Eight lower-case hexadecimal digits, computed all at once.
pub fn hex(n: u32) -> [u8; 8] {
    // Each nibble gets a byte of its own, the highest nibble in the lowest byte, which comes first in memory.
    let n = u64::from(n.swap_bytes());
    let n = (n | n << 16) & 0x0000_ffff_0000_ffff;
    let n = (n | n << 8) & 0x00ff_00ff_00ff_00ff;
    let n = (n >> 4 & 0x000f_000f_000f_000f) | (n << 8 & 0x0f00_0f00_0f00_0f00);
    // Digits above 9 are letters, which stand 39 places further on in ASCII than counting on from `9` would lead.
    let letters = (n + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (n + 0x3030_3030_3030_3030 + letters * 39).to_le_bytes()
}

/// A random UUID (RFC 9562, version 4) made of these bits.
pub fn uuid(random: u128) -> [u8; 36] {
    let bits = random & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| hex((bits >> shift) as u32));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&b[..4]);
    text[14..18].copy_from_slice(&b[4..]);
    text[19..23].copy_from_slice(&c[..4]);
    text[24..28].copy_from_slice(&c[4..]);
    text[28..].copy_from_slice(&d);
    text
}

/// Strips spaces and tabs from both ends (OWS of RFC 9110 5.6.3).
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The members of a comma-separated list, trimmed; empty ones are left out (RFC 9110 5.6.1.2).
pub fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    steps::count(value.len());
    value.split(|&b| b == b',').map(trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_std_writes_them() {
        for n in [0, 1, 9, 10, 255, 256, 4096, u32::MAX as u64, u64::MAX] {
            let (mut decimal, mut hex) = (Vec::new(), Vec::new());
            push_decimal(&mut decimal, n);
            push_hex(&mut hex, n);
            assert_eq!(decimal, n.to_string().as_bytes());
            assert_eq!(hex, format!("{n:x}").as_bytes());
        }
    }

    #[test]
    fn uuids_are_random_but_for_their_version_and_variant() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let (n, random) = (rng.u32(..), rng.u128(..));
            assert_eq!(hex(n).as_slice(), format!("{n:08x}").as_bytes());
            let text = String::from_utf8(uuid(random).to_vec()).unwrap();
            let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
            let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
            assert_eq!((dashes, digits[12], "89ab".contains(digits[16])), (vec![8, 13, 18, 23], '4', true), "{text}");
            let plain: Vec<char> = format!("{random:032x}").chars().collect();
            assert!((0..32).all(|at| at == 12 || at == 16 || digits[at] == plain[at]), "{text}");
        }
    }

    #[test]
    fn lists_skip_empty_members() {
        let members: Vec<_> = list(b" a ,,\tb,").collect();
        assert_eq!(members, [&b"a"[..], b"b"]);
    }
}
