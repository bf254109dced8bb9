//! Answers, good and bad, out of the grammar's pieces.

use super::dice::Dice;
use super::pieces::{Framed, content, in_chunks, mangle, with_length};

/// Each answer has its number in a field, by which it is recognised where it arrives.
pub fn compose(dice: &mut Dice, nonce: u32) -> Vec<u8> {
    let shape = dice.below(8);
    if shape == 7 {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        return format!("{switch}X-Answer: a{nonce:04}\r\n\r\nt{nonce:04}").into_bytes();
    }
    dice.is_tame = shape < 4;
    let out = compose_any(dice, nonce);
    dice.is_tame = false;
    out
}

fn compose_any(dice: &mut Dice, nonce: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..dice.pick(&[0, 0, 0, 0, 1, 2]) {
        let status = dice.choose(&["100 Continue", "103 Early Hints", "102 Processing", "199 X"], &["101 Switching Protocols"]);
        out.extend_from_slice(format!("HTTP/1.1 {status}\r\nX-Answer: i{nonce:04}\r\n\r\n").as_bytes());
    }
    if dice.is_one_in(40) {
        out.extend_from_slice(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(31));
    }
    let version = dice.lean(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/1.", "http/1.1", "\r\nHTTP/1.1", ""]);
    let good = ["200 OK", "404 Not Found", "204 No Content", "304 Not Modified", "500 Oops", "200", "200 ", "299 \u{e9}"];
    let bad = ["101 Switching Protocols", "600 X", "099 X", "20 X", "2000 X", "-20 X", "200\tOK"];
    let status = dice.choose(&good, &bad);
    let switch =
        if status.starts_with("101") { dice.lean(&["Upgrade: websocket\r\nConnection: Upgrade\r\n", "Upgrade: x\r\n", ""]) } else { "" };
    out.extend_from_slice(format!("{version} {status}\r\n{switch}X-Answer: a{nonce:04}\r\n").as_bytes());
    for _ in 0..dice.below(4) {
        let good = [
            "X-A: NONCE\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive\r\n",
            "Connection: X-A, x-b\r\nx-b: NONCE\r\n",
            "Keep-Alive: timeout=5\r\n",
            "Proxy-Connection: close\r\n",
            "Upgrade: websocket\r\n",
            "Via: 1.1 x\r\n",
            "Date: then\r\n",
            "X-Trace-ID: NONCE\r\n",
            "Set-Cookie: NONCE\r\n",
            "Trailer: X-T\r\n",
        ];
        let bad = ["X-A: a\r\n fold\r\n", "X-A : a\r\n", "X-A: a\nX-B: b\r\n", "X-A: a\0\r\n", "Content-Length: 3\r\n"];
        let field = dice.choose(&good, &bad);
        out.extend_from_slice(field.replace("NONCE", &format!("g{nonce:04}")).as_bytes());
    }
    let framed = match dice.below(6) {
        0 => Framed { fields: b"Content-Length: 0\r\n".to_vec(), body: Vec::new() },
        1 | 2 => with_length(dice, nonce),
        3 | 4 => in_chunks(dice, nonce),
        // Until close.
        _ => Framed { fields: Vec::new(), body: content(dice, nonce) },
    };
    out.extend_from_slice(&framed.fields);
    out.extend_from_slice(dice.lean(&["\r\n", "\r\n", "\n", "\r"]).as_bytes());
    out.extend_from_slice(&framed.body);
    let more = dice.lean(&["", "x", "\r\n", "HTTP/1.1 200 OK\r\nX-Answer: eNONCE\r\nContent-Length: 1\r\n\r\ne", "0\r\n\r\n"]);
    out.extend_from_slice(more.replace("NONCE", &format!("{nonce:04}")).as_bytes());
    mangle(dice, &mut out);
    out
}
