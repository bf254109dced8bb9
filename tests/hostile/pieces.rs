//! Parts of requests and answers: framing fields with bodies that fit them, and all the ways in which they do not.

use super::dice::Dice;

/// Sizes around the limits of rings, blocks and opaque runs.
const SIZES: &[usize] = &[1, 5, 0, 16, 100, 255, 256, 1000, 4095, 4096, 4097, 9000, 16_384, 20_000];

/// Framing fields, and the bytes after the head.
pub struct Framed {
    pub fields: Vec<u8>,
    pub body: Vec<u8>,
}

/// Content; some of it looks like the end of a body and another message.
pub fn content(dice: &mut Dice, nonce: u32) -> Vec<u8> {
    match dice.below(6) {
        0 => format!("c{nonce:04}").into_bytes(),
        1 => pattern(dice.pick(SIZES)),
        2 => format!("GET /s{nonce:04} HTTP/1.1\r\nHost: s\r\n\r\n").into_bytes(),
        3 => format!("0\r\n\r\nGET /s{nonce:04} HTTP/1.1\r\nHost: s\r\n\r\n").into_bytes(),
        4 => format!("HTTP/1.1 200 OK\r\nX-Answer: s{nonce:04}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        _ => {
            let n = dice.below(40);
            dice.bytes(n)
        }
    }
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| b'a' + (i % 26) as u8).collect()
}

/// `Content-Length`, correct or not, and a body that may fit it.
pub fn with_length(dice: &mut Dice, nonce: u32) -> Framed {
    let body = content(dice, nonce);
    let n = body.len();
    let fields = match dice.lean(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]) {
        0 | 1 => format!("Content-Length: {n}\r\n"),
        2 => format!("content-length:\t{n} \r\n"),
        3 => format!("Content-Length: 00{n}\r\n"),
        4 => format!("Content-Length: +{n}\r\n"),
        5 => format!("Content-Length: {n}, {n}\r\n"),
        6 => format!("Content-Length: {n}\r\nContent-Length: {n}\r\n"),
        7 => format!("Content-Length: {n}\r\nContent-Length: {}\r\n", n + 1),
        8 => format!("Content-Length: {}\r\n", n.saturating_sub(1)),
        9 => format!("Content-Length: {}\r\n", n + 3),
        10 => "Content-Length: 18446744073709551616\r\n".to_owned(),
        11 => "Content-Length: 9999999999999\r\n".to_owned(),
        12 => format!("Content-Length : {n}\r\n"),
        13 => format!("Content_Length: {n}\r\n"),
        14 => format!("Content-Length: {n}\r\n 0\r\n"),
        15 => "Content-Length:\r\n".to_owned(),
        _ => format!("Content-Length: 0x{n:x}\r\n"),
    };
    Framed { fields: fields.into_bytes(), body }
}

/// `Transfer-Encoding`, correct or not, and chunks.
pub fn in_chunks(dice: &mut Dice, nonce: u32) -> Framed {
    let fields = dice.lean(&[
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:chunked\r\n",
        "Transfer-Encoding: Chunked \r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;a=b\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent_Length: 5\r\n",
    ]);
    let mut body = Vec::new();
    for _ in 0..dice.below(4) {
        let data = content(dice, nonce);
        let n = data.len();
        let size = match dice.lean(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]) {
            0 => format!("{n:x}\r\n"),
            1 => format!("{n:X}\r\n"),
            2 => format!("000{n:x}\r\n"),
            3 => format!("{n:x};ext\r\n"),
            4 => format!("{n:x} ; a=\"b;\\\"\";c=d\r\n"),
            5 => format!("+{n:x}\r\n"),
            6 => format!("0x{n:x}\r\n"),
            7 => format!("{n:x}\n"),
            8 => format!(" {n:x}\r\n"),
            9 => format!("{n:x} \r\n"),
            10 => format!("{n:x}g\r\n"),
            11 => format!("{:x}\r\n", n + 1),
            12 => format!("{:x}\r\n", n.saturating_sub(1)),
            13 => "fffffffffffffffff\r\n".to_owned(),
            14 => format!("{n:x};a\nb\r\n"),
            15 => format!("{n:x};\r\n"),
            _ => "\r\n".to_owned(),
        };
        body.extend_from_slice(size.as_bytes());
        body.extend_from_slice(&data);
        body.extend_from_slice(dice.lean(&["\r\n", "\n", "", "\r", "\rx", "x\r\n", "\r\n\r\n"]).as_bytes());
    }
    let last = match dice.lean(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) {
        0 => "0\r\n\r\n".to_owned(),
        1 => format!("0\r\nX-T: t{nonce:04}\r\n\r\n"),
        2 => format!("0\r\nContent-Length: 5\r\nHost: e\r\nTransfer-Encoding: chunked\r\nx_t: t{nonce:04}\r\n\r\n"),
        3 => "0000\r\n\r\n".to_owned(),
        4 => "0;e=f\r\n\r\n".to_owned(),
        5 => "0\n\n".to_owned(),
        6 => "0\r\n\n".to_owned(),
        7 => String::new(),
        8 => "0\r\nX-T : a\r\n\r\n".to_owned(),
        9 => "0\r\nX-T: a\r\n b\r\n\r\n".to_owned(),
        10 => "0\r\n".to_owned(),
        11 => format!("0\r\nX-T: {}\r\n\r\n", "t".repeat(600)),
        _ => "0\r\nX-T: a\rb\r\n\r\n".to_owned(),
    };
    body.extend_from_slice(last.as_bytes());
    Framed { fields: fields.as_bytes().to_vec(), body }
}

/// Changes, inserts or removes a byte somewhere.
pub fn mangle(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if !dice.is_one_in(12) || bytes.is_empty() {
        return;
    }
    let at = (usize::from(dice.byte()) * 7 + usize::from(dice.byte())) % bytes.len();
    let b = match dice.below(4) {
        0 => dice.byte(),
        _ => dice.pick(b"\r\n \t\0:;,/0x\x0b\x7f\xff"),
    };
    match dice.below(3) {
        0 => bytes[at] = b,
        1 => bytes.insert(at, b),
        _ => drop(bytes.remove(at)),
    }
}
