//! A reader of access logs, which fails the test unless each line is one of its format, down to the last character.

use std::collections::BTreeMap;
use std::path::Path;

/// What all formats say about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Milliseconds since 1970.
    pub time: i64,
    /// The address, without its port.
    pub client: String,
    /// The request line, escapes undone.
    pub request: String,
    pub status: u16,
    pub bytes: u64,
    pub error: Option<String>,
    /// Everything else, by name.
    pub more: BTreeMap<String, String>,
}

impl Line {
    /// The second word of the request line.
    pub fn target(&self) -> &str {
        self.request.split(' ').nth(1).unwrap_or_default()
    }

    /// `2026-01-02T03:04:05.678Z 127.0.0.1:53412 "GET /a?b HTTP/1.1" 200 1234 0.012 upstream=… attempts=1 [error=…] trace_id=…`
    #[track_caller]
    pub fn text(line: &str) -> Line {
        let bad = |what: &str| -> ! { panic!("{what} in {line:?}") };
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "a byte that is not plain: {line:?}");
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| bad("no time"));
        let (client, rest) = rest.split_once(' ').unwrap_or_else(|| bad("no client"));
        let host = host_of(client).unwrap_or_else(|| bad("no client"));
        let (request, rest) = quoted(rest).unwrap_or_else(|| bad("no request"));
        let mut words = rest.strip_prefix(' ').unwrap_or_else(|| bad("no space")).split(' ');
        let mut word = || words.next().unwrap_or_else(|| bad("a word is missing"));
        let (status, bytes, seconds) = (word(), word(), word());
        assert!(seconds.split_once('.').is_some_and(|(s, ms)| s.parse::<u64>().is_ok() && ms.len() == 3), "{seconds:?} in {line:?}");
        let mut more = BTreeMap::from([("seconds".to_owned(), seconds.to_owned())]);
        let mut names = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or_else(|| bad("no name"));
            assert!(!value.is_empty(), "{name} is empty in {line:?}");
            names.push(name);
            more.insert(name.to_owned(), value.to_owned());
        }
        let wanted: &[&str] = match more.contains_key("error") {
            true => &["upstream", "attempts", "error", "trace_id"],
            false => &["upstream", "attempts", "trace_id"],
        };
        assert_eq!(names, wanted, "{line:?}");
        let (status, bytes) = (status.parse().expect("a status"), bytes.parse().expect("bytes"));
        let error = more.remove("error");
        Line { time: iso(time).unwrap_or_else(|| bad("no time")), client: host, request, status, bytes, error, more }
    }

    /// Apache's `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`.
    #[track_caller]
    pub fn combined(line: &str) -> Line {
        let bad = |what: &str| -> ! { panic!("{what} in {line:?}") };
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "a byte that is not plain: {line:?}");
        let (client, rest) = line.split_once(" - - [").unwrap_or_else(|| bad("no client"));
        assert!(client.parse::<std::net::IpAddr>().is_ok(), "{client:?} is no address: {line:?}");
        let (time, rest) = rest.split_once("] ").unwrap_or_else(|| bad("no time"));
        let (request, rest) = quoted(rest).unwrap_or_else(|| bad("no request"));
        let (numbers, rest) = rest[1..].split_once(" \"").unwrap_or_else(|| bad("no referer"));
        let (status, bytes) = numbers.split_once(' ').unwrap_or_else(|| bad("no bytes"));
        let rest = format!("\"{rest}");
        let (referer, rest) = quoted(&rest).unwrap_or_else(|| bad("no referer"));
        let (user_agent, rest) = rest.strip_prefix(' ').and_then(quoted).unwrap_or_else(|| bad("no user agent"));
        assert_eq!(rest, "", "{line:?}");
        Line {
            time: apache(time).unwrap_or_else(|| bad("no time")),
            client: client.to_owned(),
            request,
            status: status.parse().expect("a status"),
            bytes: if bytes == "-" { 0 } else { bytes.parse().expect("bytes") },
            error: None,
            more: BTreeMap::from([("referer".to_owned(), referer), ("user_agent".to_owned(), user_agent)]),
        }
    }

    /// One object, with the documented fields in their order.
    #[track_caller]
    pub fn json(line: &str) -> Line {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let object = value.as_object().unwrap_or_else(|| panic!("no object: {line:?}"));
        let names = "time client peer method uri version host status bytes_in bytes_out duration_ms upstream_ms upstream queue_ms connect_ms route attempts error cache \
                     trace_id traceparent user user_agent referer";
        assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), names.split_ascii_whitespace().collect::<Vec<_>>());
        for name in ["status", "bytes_in", "bytes_out", "duration_ms", "attempts"] {
            assert!(value[name].is_number(), "{name} is no number: {line:?}");
        }
        let text = |name: &str| match &value[name] {
            serde_json::Value::Null => "-".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let request = format!("{} {} {}", text("method"), text("uri"), text("version"));
        let client = text("client");
        Line {
            time: iso(&text("time")).unwrap_or_else(|| panic!("no time: {line:?}")),
            client: host_of(&client).unwrap_or_else(|| panic!("no client: {line:?}")),
            request,
            status: value["status"].as_u64().unwrap() as u16,
            bytes: value["bytes_out"].as_u64().unwrap(),
            error: Some(text("error")).filter(|error| error != "-"),
            more: object.keys().map(|name| (name.clone(), text(name))).collect(),
        }
    }
}

/// The address of a client that is shown with its port, or without one where none is known.
fn host_of(client: &str) -> Option<String> {
    let with_port = client.parse::<std::net::SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| client.parse::<std::net::IpAddr>()).ok().map(|ip| ip.to_string())
}

/// The lines of a file that is perhaps being written, or renamed, at this moment: the whole ones.
pub fn of_file(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    text[..end].lines().map(str::to_owned).collect()
}

/// What stands between the quotes that `text` begins with, escapes undone (bytes become the characters of their number), and
/// what comes after them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let mut out = String::new();
    chars.next().filter(|(_, c)| *c == '"')?;
    loop {
        match chars.next()? {
            (at, '"') => return Some((out, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'x' => {
                    let digits = [chars.next()?.1, chars.next()?.1].iter().collect::<String>();
                    out.push(u8::from_str_radix(&digits, 16).ok()? as char);
                }
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'b' => out.push('\x08'),
                'v' => out.push('\x0b'),
                c @ ('"' | '\\') => out.push(c),
                _ => return None,
            },
            (_, c) => out.push(c),
        }
    }
}

/// `2026-01-02T03:04:05.678Z`, in milliseconds since 1970.
pub fn iso(text: &str) -> Option<i64> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00T00:00:00.000Z" {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let days = days(number(0, 4), number(5, 7), number(8, 10))?;
    Some(((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60_000 + number(17, 19) * 1000 + number(20, 23))
}

/// `02/Jan/2026:03:04:05 +0000`
fn apache(text: &str) -> Option<i64> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|m| text.get(3..6) == Some(m))? + 1;
    let (day, rest) = (text.get(..2)?, text.get(7..)?);
    let (year, clock) = rest.split_once(':')?;
    iso(&format!("{year}-{month:02}-{day}T{}.000Z", clock.strip_suffix(" +0000")?))
}

/// Days since 1970-01-01, counted year by year: slow, but certainly right.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_month = *lengths.get(usize::try_from(month - 1).ok()?)?;
    let before: i64 = lengths[..month as usize - 1].iter().sum();
    let years: i64 = (1970..year).map(|y| if is_leap(y) { 366 } else { 365 }).sum();
    (year >= 1970 && (1..=of_month).contains(&day)).then_some(years + before + day - 1)
}
