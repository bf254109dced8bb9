//! Durations and sizes with units: `500ms`, `30s`, `5m`, `2h`; `64KiB`, `10MB`. Only whole numbers, so that nothing is rounded.

use super::suggest;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Bytes,
}

const DURATIONS: [(&str, i128); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, i128); 7] =
    [("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Unit {
    /// The number that a text with a unit stands for.
    pub fn parse(self, text: &str) -> Option<i128> {
        let (digits, unit) = split(text);
        let known: &[(&str, i128)] = match self {
            Self::Milliseconds => &DURATIONS,
            Self::Bytes => &SIZES,
        };
        let factor = known.iter().find(|(name, _)| *name == unit)?.1;
        digits.parse::<i128>().ok()?.checked_mul(factor)
    }

    /// What was probably meant by an invalid text, as the end of a message.
    pub fn meant(self, key: &str, text: &str) -> Option<String> {
        let (digits, unit) = split(text.trim());
        let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let prefix = unit.trim().to_ascii_lowercase();
        if self == Self::Bytes && is_whole {
            // In other programs the same letters mean either.
            let letter = match prefix.as_str() {
                "k" | "kb" | "ki" | "kib" => "Ki",
                "m" | "mb" | "mi" | "mib" => "Mi",
                "g" | "gb" | "gi" | "gib" => "Gi",
                _ => "",
            };
            if !letter.is_empty() {
                let thousand = if letter == "Ki" { "k" } else { &letter[..1] };
                return Some(format!("write \"{digits}{letter}B\" (by 1024) or \"{digits}{thousand}B\" (by 1000)"));
            }
        }
        suggest::plain_number(key, text).map(|n| format!("write {n}"))
    }

    /// `milliseconds` and an example.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Milliseconds => ("milliseconds", "a duration such as \"30s\""),
            Self::Bytes => ("bytes", "a size such as \"64KiB\""),
        }
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_multiplies() {
        use Unit::*;
        for (unit, text, number) in [
            (Milliseconds, "500ms", Some(500)),
            (Milliseconds, "30s", Some(30_000)),
            (Milliseconds, "5m", Some(300_000)),
            (Milliseconds, "2h", Some(7_200_000)),
            (Milliseconds, "1.5s", None),
            (Milliseconds, "30 s", None),
            (Milliseconds, "30", None),
            (Milliseconds, "-1s", None),
            (Bytes, "10MB", Some(10_000_000)),
            (Bytes, "64KiB", Some(65_536)),
            (Bytes, "1B", Some(1)),
            (Bytes, "10m", None),
            (Bytes, "10KB", None),
            (Bytes, "99999999999999999999999999999999999999GiB", None),
        ] {
            assert_eq!(unit.parse(text), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_unit_here_is_guessed_at() {
        assert_eq!(Unit::Bytes.meant("max_body_size", "10m").unwrap(), "write \"10MiB\" (by 1024) or \"10MB\" (by 1000)");
        assert_eq!(Unit::Bytes.meant("buffer_size", "16 KB").unwrap(), "write \"16KiB\" (by 1024) or \"16kB\" (by 1000)");
        assert_eq!(Unit::Milliseconds.meant("read_ms", "1.5s").unwrap(), "write 1500");
        assert_eq!(Unit::Milliseconds.meant("read_ms", "soon"), None);
    }
}
