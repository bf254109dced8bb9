//! "Did you mean": guesses at what was meant. Nothing here decides whether a value is valid.

/// The candidate that is closest to `word`, if it is close enough to have been meant.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no typing errors, and comparing them takes quadratic time.
    const MAX_LEN: usize = 64;
    if word.len() > MAX_LEN {
        return None;
    }
    let plain = normal(word);
    let best = candidates.into_iter().map(|candidate| (distance(&plain, &normal(candidate)), candidate)).min_by_key(|(d, _)| *d)?;
    // A third of the letters may be wrong, and one of a short word.
    (best.0 <= ((plain.len() + 1) / 3).max(1)).then_some(best.1)
}

/// Whether both are the same name, in different styles.
pub fn same(a: &str, b: &str) -> bool {
    normal(a) == normal(b)
}

/// Ignores style: `maxClientConns` and `max-client-conns` mean `max_client_conns`.
fn normal(word: &str) -> Vec<u8> {
    word.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' ' | b'.')).map(|b| b.to_ascii_lowercase()).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) from one to the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

/// The plain number that was meant by `5s`, `1.5m`, `10MB`, `"80"` or `8_080`: milliseconds for a key in `_ms`, else bytes.
pub fn plain_number(key: &str, text: &str) -> Option<i64> {
    let text = text.trim().replace('_', "");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match (key.ends_with("_ms"), unit.as_str()) {
        (_, "") | (true, "ms") | (false, "b") => 1.0,
        (true, "s" | "sec") => 1e3,
        (true, "m" | "min") => 6e4,
        (true, "h") => 3.6e6,
        (false, "kb") => 1e3,
        (false, "mb") => 1e6,
        (false, "gb") => 1e9,
        (false, "k" | "kib") => 1024.0,
        (false, "m" | "mib") => 1024.0 * 1024.0,
        (false, "g" | "gib") => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number = digits.parse::<f64>().ok()? * factor;
    // Beyond this a float is not exact, and no such number is meant.
    #[allow(clippy::cast_possible_truncation)]
    (number < 9e15).then(|| number.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_understood_and_other_words_are_not() {
        let keys = ["max_client_conns", "max_headers", "listen", "workers", "echo"];
        for (word, meant) in [
            ("max_client_cons", Some("max_client_conns")),
            ("maxClientConns", Some("max_client_conns")),
            ("max-headers", Some("max_headers")),
            ("lsiten", Some("listen")),
            ("worker", Some("workers")),
            ("ecko", Some("echo")),
            ("zzz", None),
            ("", None),
            (&"x".repeat(10_000), None),
        ] {
            assert_eq!(closest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn units_become_plain_numbers() {
        for (key, text, meant) in [
            ("read_ms", "5s", Some(5000)),
            ("read_ms", "1.5 m", Some(90_000)),
            ("read_ms", "250ms", Some(250)),
            ("buffer_size", "16k", Some(16_384)),
            ("max_body_size", "1.5GB", Some(1_500_000_000)),
            ("max_body_size", "1.5 GiB", Some(1_610_612_736)),
            ("port", "8_080", Some(8080)),
            ("read_ms", "soon", None),
            ("read_ms", "", None),
            ("read_ms", "1.2.3s", None),
            ("read_ms", "99999999999999999999s", None),
        ] {
            assert_eq!(plain_number(key, text), meant, "{text}");
        }
    }
}
