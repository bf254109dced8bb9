//! Known ways to make two parsers disagree: obfuscated framing, answers that come early, late or twice, and messages that end
//! exactly at the end of a buffer.

use crate::support::*;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";

/// TE.CL, CL.TE, TE.TE, CL.0: a field that one parser would read, another would not, and a third would read otherwise.
#[test]
fn an_obfuscated_field_is_refused_however_it_is_written() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let lengths = [
        "3_0",
        "3.0",
        "3e0",
        "3;",
        "3; 3",
        "3\x0b",
        "\x0c3",
        "3\u{a0}",
        "\u{a0}3",
        "3\0",
        "\u{ff13}",
        "\u{663}",
        "\u{feff}3",
        "(3)",
        "'3'",
        "3/",
        "0x03",
        "3h",
        ",3",
        "3,3",
        "3 ,",
        "\r\n 3",
        "3\r\n 0",
        "9223372036854775808000",
    ];
    let codings = [
        "chunked\x0b",
        "\x0cchunked",
        "chunked\x0c",
        "\0chunked",
        "chunked\0",
        "\u{a0}chunked",
        "chunked\u{85}",
        "chun ked",
        "chunked x",
        "x chunked",
        "[chunked]",
        "'chunked'",
        "chun\u{212a}ed",
        "\u{10b}hunked",
        "chunked\r\n ",
        "\r\n chunked",
        ",",
        "chunked,",
        ",chunked",
        "chunked;",
        "chunked; a=b",
        "chunke",
        "chunkedd",
        "null",
    ];
    let names =
        ["\0", "\x0b", "\u{a0}", "\u{ad}", " ", "\t", "\r", "\r\r"].map(|bad| [format!("{{}}{bad}"), format!("{bad}{{}}")]).concat();
    let names =
        names.iter().map(String::as_str).chain(["X\r{}", "X\n{}", "X: y\n{}", "X: y\r{}", "({})", "\"{}\"", "{};a", "{},a", "X:{}\rX"]);
    let framings = ["Content-Length", "Transfer-Encoding"];
    let mut heads = Vec::new();
    heads.extend(lengths.iter().map(|value| (format!("Content-Length: {value}"), "")));
    heads.extend(codings.iter().flat_map(|value| {
        let line = format!("Transfer-Encoding: {value}");
        [(format!("{line}\r\nContent-Length: 5"), ""), (line, "")]
    }));
    for name in names {
        heads.extend(framings.map(|framing| (format!("{}: 5", name.replace("{}", framing)), "Transfer-Encoding: chunked\r\n")));
    }
    heads.push(("Transfer-Encod\u{131}ng: chunked".to_owned(), "Content-Length: 5\r\n"));
    for (line, before) in heads {
        refused(&proxy, format!("POST / HTTP/1.1\r\nHost: a\r\n{before}{line}\r\n\r\n0\r\n\r\n"), &[400, 501]);
    }
    assert_eq!(origin.connections(), 0);
}

/// "Funky chunks": where a chunk's line ends, with and without extensions, and what stands around its size.
#[test]
fn a_chunks_line_ends_in_one_way_only() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sizes = [
        "5\n",
        "5;\n",
        "5;a\n",
        "5;a\nb\r\n",
        "5;a\rb\r\n",
        "5;a\r",
        "5\r",
        "5\r\r\n",
        "5;a=\"\n\"\r\n",
        "5;a=\"\r\n\"\r\n",
        "5;a=\"\\\r\n",
        "5;a=\"\r\n",
        "5;\r\n",
        "5; \r\n",
        "5;a=\r\n",
        "5;=b\r\n",
        "5;;a\r\n",
        "5;a=b c\r\n",
        "5;a=\"b\"c\r\n",
        "5;\0\r\n",
        "5;a=\x01\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5\0\r\n",
        "5\x0b\r\n",
        "\t5\r\n",
        "5_\r\n",
        "1_0\r\n",
        "0X5\r\n",
        "5h\r\n",
        "5.0\r\n",
        "\"5\"\r\n",
        "5,\r\n",
        "5 5\r\n",
        "5=a\r\n",
        "\u{ff15}\r\n",
        "00000000000000005\r\n",
        "5\r\n\n",
        "5\n\r\n",
    ];
    for size in sizes {
        refused(&proxy, format!("{head}{size}hello\r\n0\r\n\r\n"), &[400]);
    }
    let ends = [
        "0\r\n\n",
        "0\n\n",
        "0\r\n\r\r\n",
        "0\r\r\n\r\n",
        "00 \r\n\r\n",
        "0x0\r\n\r\n",
        "-0\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\r\n\n",
        "0\r\nX\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\rz\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nX\u{e9}: y\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
    ];
    for end in ends {
        refused(&proxy, format!("{head}5\r\nhello\r\n{end}"), &[400]);
    }
    assert_eq!(origin.requests().len(), 0, "no such body is whole");
    // Trailers that frame, route or authenticate are not merged into the head.
    let mut client = proxy.client();
    let trailers = [
        "Host",
        "Content-Length",
        "Content_Length",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Real-IP",
        "Via",
        "X-Trace-ID",
    ];
    let lines = trailers.iter().map(|name| format!("{name}: 5\r\n")).collect::<String>();
    client.send(format!("{head}5;a=\"\\\"\" ; b\r\nhello\r\n000;c\r\n{lines}X-Sum: 1\r\n\r\n"));
    client.response().expect(200);
    assert_eq!(origin.request().trailers.0, [("X-Sum".to_owned(), "1".to_owned())]);
}

#[test]
fn what_is_odd_but_clear_means_one_thing() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let cases = [
        ("GET //evil.test/p HTTP/1.1\r\nHost: a", "", "GET //evil.test/p", ""),
        ("GET http://b//p HTTP/1.1\r\nHost: a", "", "GET //p", ""),
        ("GET /x/../p HTTP/1.1\r\nHost: a", "", "GET /x/../p", ""),
        ("\r\nGET /%0d%0aX:%20y HTTP/1.1\r\nHost: a", "", "GET /%0d%0aX:%20y", ""),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \t0043 ", SMUGGLED, "GET /", SMUGGLED),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: 43", SMUGGLED, "OPTIONS /", SMUGGLED),
        ("DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tCHUNKED\t", "2B\r\n{}\r\n0\r\n\r\n", "DELETE /", SMUGGLED),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 43\r\nTransfer_Encoding: chunked", "", "POST /", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nConnection: close, content-length\r\nContent-Length: 43", SMUGGLED, "POST /", SMUGGLED),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked",
            "2b\r\n{}\r\n0\r\n\r\n",
            "POST /",
            SMUGGLED,
        ),
    ];
    assert_eq!(SMUGGLED.len(), 43);
    for (head, body, what, content) in cases {
        let mut client = proxy.client();
        client.send(format!("{head}\r\n\r\n{}GET /next HTTP/1.1\r\nHost: a\r\n\r\n", body.replace("{}", SMUGGLED)));
        client.response().expect(200);
        let is_last = head.contains("close");
        if is_last {
            client.expect_end();
        } else {
            client.response().expect(200);
        }
        let seen = origin.requests();
        let request = &seen[seen.len() - if is_last { 1 } else { 2 }];
        assert_eq!((request.what().as_str(), request.text()), (what, content), "{head:?}");
        assert!(request.fields.0.iter().all(|(name, _)| !name.contains('_')), "{:?}", request.fields);
    }
    assert!(origin.heads().iter().all(|head| head.target != "/smuggled"));
}

/// Requests with `Expect`: obfuscated, without a body, or answered before the body that was to wait.
#[test]
fn an_expectation_brings_nobody_out_of_step() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            match head.target.as_str() {
                // Like a server that reads no body that it has not asked for.
                "/early" => return conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly"),
                "/early-and-kept" => conn.answer("early"),
                _ => {
                    conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
                    let Some(request) = conn.read_body(head) else { return };
                    let body = if request.method == "HEAD" { "" } else { "done" };
                    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}"));
                }
            }
        }
    });
    let proxy = Config::to(&origin).start();
    for value in ["y 100-continue", "100-continue y", "100-continue, x", "100_continue", "\"100-continue\"", "100-continue;a=b", "200-ok"] {
        refused(&proxy, format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 43\r\n\r\n{SMUGGLED}"), &[417]);
    }
    assert_eq!(origin.connections(), 0);
    let mut client = proxy.client();
    for method in ["GET", "HEAD", "OPTIONS"] {
        client.send(format!("{method} /no-body HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"));
        client.response_to(method).expect(200);
    }
    assert_eq!(client.post("/next", "x").expect(200).text(), "done");
    for target in ["/early", "/early-and-kept"] {
        let mut client = proxy.client();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 43\r\n\r\n"));
        let answer = client.response().expect(200);
        assert_eq!(answer.text(), "early");
        assert!(answer.fields.lists("Connection", "close"), "{:?}", answer.fields);
        // Whether the client sends the body or not, it is not a request.
        let _ = client.try_send(SMUGGLED);
        let _ = client.try_send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        if let Ok(answer) = client.try_response_to("GET") {
            assert_eq!(answer.expect(200).text(), "done");
        }
    }
    assert!(origin.heads().iter().all(|head| head.target != "/smuggled"));
}

/// Response queues: bytes after an answer, at once or later, few or many, are no answer to the next request.
#[test]
fn an_answer_too_many_answers_nobody() {
    let sizes = [0, 1, 100, 16_384, 70_000];
    let origin = Origin::each(move |conn, request| {
        let evil = |n: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{}", "!".repeat(n));
        let (what, mut words) = (request.what(), request.target[1..].split('/'));
        let (kind, n) = (words.next().unwrap(), words.next().map_or(0, |n| n.parse().unwrap()));
        let answer = match kind {
            "length" => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{what}{}", what.len(), evil(n)),
            "chunked" => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{what}\r\n0\r\n\r\n{}", what.len(), evil(n)),
            "empty" => format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{}", evil(n)),
            "204" => format!("HTTP/1.1 204 No Content\r\nContent-Length: {n}\r\n\r\n{}", "!".repeat(n + 1)),
            "304" => format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {n}\r\n\r\n{}", "!".repeat(n + 1)),
            "interim" => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{what}HTTP/1.1 100 Continue\r\n\r\n{}", what.len(), evil(n)),
            "crlf" => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{what}\r\n", what.len()),
            _ => return conn.answer(what),
        };
        conn.send(answer);
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for kind in ["length", "chunked", "empty", "204", "304", "interim", "crlf"] {
        for n in sizes {
            for method in ["GET", "HEAD"] {
                let path = format!("/{kind}/{n}");
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                let answer = client.response_to(method);
                assert!(answer.cut.is_none() && !answer.body.contains(&b'!'), "{answer:?}");
                let connections = origin.connections();
                assert_eq!(client.get("/clean").expect(200).text(), "GET /clean", "after {method} {path}");
                assert_eq!(origin.connections(), connections + 1, "{method} {path}: that connection was used again");
            }
        }
    }
}
