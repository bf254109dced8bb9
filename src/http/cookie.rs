//! Single cookies in `Cookie` fields (RFC 6265 4.2.1). What is no `name=value` is left as it is.

/// The values of the cookies with this name, whose case matters.
pub fn find<'a>(field: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(field).filter_map(move |pair| value(pair, name))
}

/// Whether there is a cookie with this name.
pub fn has(field: &[u8], name: &[u8]) -> bool {
    find(field, name).next().is_some()
}

/// Appends the other cookies of the field, as the value of one; returns whether there are any.
pub fn push_others(out: &mut Vec<u8>, field: &[u8], name: &[u8]) -> bool {
    let before = out.len();
    for pair in pairs(field).filter(|pair| !pair.is_empty() && value(pair, name).is_none()) {
        if out.len() > before {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(pair);
    }
    out.len() > before
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|&b| b == b';').map(<[u8]>::trim_ascii)
}

fn value<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(field: &str) -> Vec<&str> {
        find(field.as_bytes(), b"tg").map(|value| std::str::from_utf8(value).unwrap()).collect()
    }

    fn others(field: &str) -> String {
        let mut out = Vec::new();
        assert_eq!(push_others(&mut out, field.as_bytes(), b"tg"), !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_cookie_is_told_from_others() {
        assert_eq!(found("a=1; tg=x; b=tg=2;tg = y ;tg; xtg=3; TG=4; tgx=5; tg="), ["x", "y", ""]);
        assert_eq!(found(""), [""; 0]);
    }

    #[test]
    fn the_others_stay_in_their_order() {
        assert_eq!(others("a=1; tg=x;b=\"2 ; tg=y"), "a=1; b=\"2");
        assert_eq!(others("tg=x; a=1;;"), "a=1");
        assert_eq!(others("tg=x"), "");
        assert_eq!(others("tg; xtg=1"), "tg; xtg=1");
    }
}
