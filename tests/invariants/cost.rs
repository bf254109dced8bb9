//! Reading and rewriting a head costs a bounded number of steps for each of its bytes, whatever it says.

use tidegate::base::address::Peer;
use tidegate::base::steps;
use tidegate::http::HeadLimits;
use tidegate::http::forwarded::RequestAdditions;
use tidegate::http::framing::Recode;
use tidegate::http::head::{HeadTable, SmallTable};
use tidegate::http::request::Request;
use tidegate::http::response::Response;
use tidegate::http::scan::{HeadEnd, HeadScan};
use tidegate::http::write::{self, ResponseAdditions};

/// Only memory is limited: 1,024 fields and 16 MiB are the most that a configuration can allow.
const LIMITS: HeadLimits = HeadLimits { first_line: 1 << 24, line: 1 << 24, lines: 1024, total: 1 << 24 };

/// Steps allowed for each byte. Comparing a name with a hundred sorted ones takes seven looks.
const EACH: u64 = 32;
const AT_ALL: u64 = 200;

/// Reads and rewrites a head as a request and as a response, where it is one.
pub fn head(input: &[u8]) {
    let spent = |work: &dyn Fn() -> Option<()>| {
        let before = steps::taken();
        let _ = work();
        steps::taken() - before
    };
    let find = || match HeadScan::default().find_end(input, &LIMITS) {
        Ok(HeadEnd::At(end)) => Some(&input[..end]),
        _ => None,
    };
    let request = |request: Request| {
        let forward = RequestAdditions {
            client: Peer::of([192, 0, 2, 1].into(), None),
            scheme: "http",
            trace_id: b"trace",
            is_trusted: true,
            via: true,
            own_cookies: &[],
        };
        write::request_head(&mut Vec::new(), &request, &forward);
    };
    let response = |response: Response| {
        let reply =
            ResponseAdditions { minor: 1, persists: true, recode: Recode::Same, date: b"now", trace_id: b"trace", set_cookie: None };
        write::response_head(&mut Vec::new(), &response, reply);
    };
    let ways: [&dyn Fn() -> Option<()>; 4] = [
        &|| Request::find(input, &LIMITS, &mut SmallTable::default()).ok().map(request),
        &|| Request::parse(find()?, &mut HeadTable::default()).ok().map(request),
        &|| Response::find(input, false, &LIMITS, &mut SmallTable::default()).ok().map(response),
        &|| Response::parse(find()?, false, &mut HeadTable::default()).ok().map(response),
    ];
    for (way, work) in ways.into_iter().enumerate() {
        let (steps, most) = (spent(work), AT_ALL + EACH * input.len() as u64);
        assert!(steps <= most, "way {way}: {steps} steps for {} bytes", input.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options and fields that are as many, as long and as similar to each other as they can be.
    #[test]
    fn no_list_makes_a_head_dear() {
        let start = ["GET / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200 OK\r\n"];
        let alike = |n: usize, length: usize| format!("{}{n:04}", "x".repeat(length));
        let list = |count: usize, length: usize| (0..count).map(|n| alike(n, length)).collect::<Vec<_>>().join(",");
        let fields = |count: usize, length: usize| (0..count).map(|n| format!("{}: 1\r\n", alike(n, length))).collect::<String>();
        for start in start {
            for (options, count, length) in [(100, 98, 280), (100, 1000, 1), (100, 1000, 30), (1, 1000, 50)] {
                head(format!("{start}Connection: {}\r\n{}\r\n", list(options, length), fields(count, length)).as_bytes());
            }
            let singles: String = (0..100).map(|n| format!("Connection: {}\r\n", alike(n, 1))).collect();
            head(format!("{start}{singles}{}\r\n", fields(900, 1)).as_bytes());
            head(format!("{start}Connection: {}\r\n{}\r\n", ",".repeat(60_000), fields(1000, 1)).as_bytes());
            for name in ["Via", "X-Forwarded-For", "Accept", "TE", "Expect", "Forwarded", "X_Forwarded_For"] {
                head(format!("{start}{}\r\n", format!("{name}: a,b, c\r\n").repeat(1000)).as_bytes());
                head(format!("{start}{name}: {}\r\n\r\n", "a,".repeat(30_000)).as_bytes());
            }
        }
        for piece in ["/..", "/x/..", "/.", "%41", "%", "\\", "//", "/x//../"] {
            head(format!("GET {}{} HTTP/1.1\r\nHost: a\r\n\r\n", "/x".repeat(20_000), piece.repeat(10_000)).as_bytes());
        }
        // A release build counts nothing.
        assert!(!cfg!(debug_assertions) || steps::taken() > 1_000_000);
    }
}
