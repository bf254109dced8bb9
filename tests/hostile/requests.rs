//! Generates requests, valid and invalid.

use super::dice::Dice;
use super::pieces::{Framed, in_chunks, mangle, with_length};

/// Each request has its number in its target, by which it is recognised where it arrives.
pub fn compose(dice: &mut Dice, nonce: u32) -> Vec<u8> {
    let shape = dice.below(8);
    if shape == 7 {
        return format!("GET /q{nonce:04} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").into_bytes();
    }
    dice.is_tame = shape < 4;
    let out = compose_any(dice, nonce);
    dice.is_tame = false;
    out
}

fn compose_any(dice: &mut Dice, nonce: u32) -> Vec<u8> {
    let bad = ["get", "CONNECT", "TRACE", "PRI", "", "G T", "G(T"];
    let method = dice.choose(&["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "M-SEARCH"], &bad);
    let target = match dice.lean(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]) {
        0 => format!("/q{nonce:04}"),
        1 => format!("/q{nonce:04}?a=b&c[]=%20"),
        2 => format!("http://b.test:8080/q{nonce:04}"),
        3 => format!("HTTP://b.test?q{nonce:04}"),
        4 => "*".to_owned(),
        5 => format!("/echo/q{nonce:04}"),
        6 => format!("/respond/q{nonce:04}"),
        7 => format!("/q{nonce:04}#f"),
        8 => format!("q{nonce:04}"),
        9 => format!("http://u@b.test/q{nonce:04}"),
        10 => format!("/q{nonce:04} x"),
        11 => format!("/q{nonce:04}\u{e9}"),
        12 => "https://b.test".to_owned(),
        13 => format!("/q{nonce:04}{}", "a".repeat(600)),
        14 => String::new(),
        15 => format!("//q{nonce:04}/../x"),
        16 => format!("/{{q{nonce:04}}}|^`<\"\\>%41%2f/./%zz"),
        _ => format!("/q{nonce:04}/../../x"),
    };
    let version =
        dice.lean(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", "HTTP/1,1", "", "HTTP/1.10"]);
    let mut out = dice.lean(&["", "\r\n", "\r\n\r\n", "\r\n\r\n\r\n", " ", "\n", "\0"]).as_bytes().to_vec();
    let gap = dice.lean(&[" ", " ", "  ", "\t"]);
    out.extend_from_slice(format!("{method}{gap}{target} {version}{}", line_end(dice)).as_bytes());
    let host = dice.lean(&[
        "Host: a.test\r\n",
        "host:a.test:80 \r\n",
        "",
        "Host: a.test\r\nHost: b.test\r\n",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host : a.test\r\n",
        "Host: a b\r\n",
        "Host:\r\n",
        "Host: a.test\r\n b.test\r\n",
        "Host: a.test, b.test\r\n",
        "Host: [::1]:80\r\n",
        "Host: u@a.test\r\n",
    ]);
    out.extend_from_slice(host.as_bytes());
    for _ in 0..dice.below(5) {
        field(dice, nonce, &mut out);
    }
    let framed = match dice.below(6) {
        0 | 1 => Framed { fields: Vec::new(), body: Vec::new() },
        2 | 3 => with_length(dice, nonce),
        _ => in_chunks(dice, nonce),
    };
    out.extend_from_slice(&framed.fields);
    out.extend_from_slice(line_end(dice).as_bytes());
    out.extend_from_slice(&framed.body);
    mangle(dice, &mut out);
    out
}

fn field(dice: &mut Dice, nonce: u32, out: &mut Vec<u8>) {
    let text = match dice.choose(GOOD, BAD) {
        "LONG" => format!("X-Long: {}", "l".repeat(700)),
        "LOOP" => "Via: 1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.1 tidegate\r\nVia: 1.1 tidegate, \
                   1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.0 x"
            .to_owned(),
        text => text.replace("NONCE", &format!("f{nonce:04}")),
    };
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(line_end(dice).as_bytes());
}

/// Fields that do not make a request unreadable.
const GOOD: &[&str] = &[
    "X-A: NONCE",
    "x-b:NONCE",
    "X-A:  a, NONCE \t",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: X-A, x-b",
    "Connection: close, X-A",
    "Connection: Host, Content-Length, Transfer-Encoding",
    "Connection: te, upgrade, cookie, authorization, expect",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers\r\nConnection: TE",
    "TE: gzip, trailers;q=1",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x",
    "Upgrade: a, b\r\nConnection: Upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "x_forwarded_for: 6.6.6.6",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil",
    "Forwarded: for=6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "X-Trace-ID: NONCE",
    "Via: 1.1 x",
    "Max-Forwards: 0",
    "Max-Forwards: 3",
    "Accept: application/json",
    "Cookie: NONCE",
    "Authorization: NONCE",
    "X-A: \u{e9}",
    "X-Empty:",
    "Trailer: X-T",
    "Date: then",
    "Script_Name: NONCE",
    "REMOTE-USER: NONCE",
    "Expect: ,",
    "Connection: ,,x-a,, ,X-B,",
];

const BAD: &[&str] = &[
    "Expect: NONCE",
    "LOOP",
    "X-A: a\0b",
    "X-A: a\rb",
    ": NONCE",
    "X A: NONCE",
    " X-Fold: NONCE",
    "X-A",
    "X-A : NONCE",
    "Content-Length: 0",
    "LONG",
];

/// CRLF, and now and then something else.
fn line_end(dice: &mut Dice) -> &'static str {
    match dice.byte() {
        ..=244 => "\r\n",
        _ if dice.is_tame => "\r\n",
        b => ["\n", "\r", "\r\r\n", "\n\r\n", "\r\n\t"][usize::from(b) % 5],
    }
}
