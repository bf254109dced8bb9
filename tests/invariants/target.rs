//! Properties of any request target, as a function that panics where one does not hold: the body of a fuzz target, through which
//! its corpus is replayed.

use super::messages::HeadVerdict;
use tidegate::base::address::Peer;
use tidegate::http::Refusal;
use tidegate::http::forwarded::RequestAdditions;
use tidegate::http::head::HeadTable;
use tidegate::http::request::Request;
use tidegate::http::target::NormalTarget;
use tidegate::http::write;

/// The normal form of a target is its own normal form, never leaves the root, and is also that of the target that goes on.
pub fn target(input: &[u8]) -> HeadVerdict {
    let head = [b"GET ", input, b" HTTP/1.1\r\nHost: a.example\r\n\r\n"].concat();
    // A space or a line end would end the target.
    if input.iter().any(|&b| b <= b' ') {
        return HeadVerdict::Refused(Refusal::Malformed("no target"));
    }
    let mut table = HeadTable::default();
    let request = match Request::parse(&head, &mut table) {
        Ok(request) => request,
        Err(refusal) => return HeadVerdict::Refused(refusal),
    };
    check_form(request.normal);
    let path = std::str::from_utf8(request.path).expect("a target is ASCII");
    assert_eq!(segments(path_of(path)).as_deref(), Some(request.normal.path), "two ways to read {:?}", request.target.escape_ascii());
    let mut written = Vec::new();
    let forward = RequestAdditions {
        client: Peer::of([192, 0, 2, 1].into(), None),
        scheme: "http",
        trace_id: b"trace",
        is_trusted: false,
        via: true,
        own_cookies: &[],
    };
    write::request_head(&mut written, &request, &forward);
    let mut table = HeadTable::default();
    let again = Request::parse(&written, &mut table).expect("a rewritten head is accepted");
    assert_eq!(again.normal, request.normal, "matched is another target than the one that went on");
    let (path, host) = (request.normal.path, request.normal.host);
    let authority = if host.contains(&b':') { [b"[", host, b"]"].concat() } else { host.to_vec() };
    let twice = [b"GET ", path, b" HTTP/1.1\r\nHost: ", &authority, b"\r\n\r\n"].concat();
    let mut table = HeadTable::default();
    let twice = Request::parse(&twice, &mut table).expect("a normal form is a target");
    assert_eq!(twice.normal, request.normal, "its normal form has another");
    HeadVerdict::Accepted
}

fn check_form(normal: NormalTarget) {
    let NormalTarget { host, path } = normal;
    assert!(!host.iter().any(|b| b.is_ascii_uppercase() || b"[]%/".contains(b)) && !host.ends_with(b"."), "{:?}", host.escape_ascii());
    let shown = path.escape_ascii();
    assert!(path.starts_with(b"/") && !path.windows(2).any(|two| two == b"//"), "{shown}");
    assert!(path.split(|&b| b == b'/').all(|segment| segment != b"." && segment != b".."), "{shown}");
    let is_path = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(b);
    assert!(path.iter().all(is_path), "{shown}");
    for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = std::str::from_utf8(&path[at + 1..at + 3]).unwrap_or_default();
        let byte = u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no encoding in {shown}"));
        assert_eq!(digits, digits.to_ascii_uppercase(), "{shown}");
        assert!(byte == b'/' || byte == b'%' || !is_path(&byte), "{shown} has encoded what need not be");
    }
}

fn path_of(target: &str) -> &str {
    if target == "*" { "/" } else { target.split('?').next().unwrap_or_default() }
}

/// The normal form, made step by step without regard to cost, to compare with.
fn segments(path: &str) -> Option<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let path = path.replace('\\', "/");
    let mut ends_open = true;
    for segment in path.split('/') {
        let segment = recode(segment);
        ends_open = matches!(&segment[..], b"" | b"." | b"..");
        match &segment[..] {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            _ => kept.push(segment),
        }
    }
    let mut out = [b"/", &kept.join(&b'/')[..]].concat();
    if ends_open && !kept.is_empty() {
        out.push(b'/');
    }
    Some(out)
}

/// Decodes a segment, and encodes every byte again that must be encoded.
fn recode(segment: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), segment.as_bytes());
    while let Some((&b, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.filter(|_| b == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b);
                rest = after;
            }
        }
    }
    let encode = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b) => vec![b],
        b => format!("%{b:02X}").into_bytes(),
    };
    bytes.into_iter().flat_map(encode).collect()
}
