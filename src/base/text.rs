//! Writing numbers and comparing text without allocating.

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
    fn lists_skip_empty_members() {
        let members: Vec<_> = list(b" a ,,\tb,").collect();
        assert_eq!(members, [&b"a"[..], b"b"]);
    }
}
