//! What does no harm passes: bytes that browsers send, fields of later versions, text for people.

use crate::support::*;

#[test]
fn what_browsers_send_in_a_target_goes_on_as_it_came() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let target = "/a{b}|c\\d^e`f\"g<h>i[j]?k={l}|m\\n^o`p\"q<r>s[t]";
    for request in [
        // The usual shape, and another.
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nhost:a\r\n\r\n"),
    ] {
        client.send(&request);
        assert_eq!(client.response().expect(200).text(), format!("GET {target}"));
    }
    for byte in ["\0", "\x01", "\t", "\x7f", "\u{e9}", "#", "\u{80}"] {
        for space in [" ", ""] {
            ask(proxy.addr(), format!("GET /a{byte}b HTTP/1.1\r\nHost:{space}a\r\n\r\n")).expect(400);
        }
    }
}

/// A quotation mark or a backslash in a target does not end it in the log.
#[test]
fn a_target_forges_no_line_of_the_log() {
    let origin = Origin::hello();
    for (format, expected) in
        [("text", r#""GET /x\"\\y HTTP/1.1" 200"#), ("combined", r#""GET /x\"\\y HTTP/1.1" 200"#), ("json", r#""uri":"/x\"\\y""#)]
    {
        let proxy = Config::to(&origin).set("logging.access_format", format).start();
        ask(proxy.addr(), "GET /x\"\\y HTTP/1.1\r\nHost: a\r\n\r\n").expect(200);
        wait_until("the line is there", || !proxy.log_lines().is_empty());
        assert!(proxy.log_lines()[0].contains(expected), "{format}: {}", proxy.log_lines()[0]);
    }
}

#[test]
fn a_length_of_nothing_is_kept_whatever_the_method() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for method in ["DELETE", "PROPFIND", "QUERY", "GET", "POST", "OPTIONS"] {
        for length in ["0", "00"] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
            client.response().expect(200);
            assert_eq!(origin.requests().pop().unwrap().fields.get("Content-Length"), Some("0"), "{method}");
        }
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response().expect(200);
        let declared = origin.requests().pop().unwrap().fields.has("Content-Length");
        assert_eq!(declared, method == "POST", "{method}");
    }
}

#[test]
fn expectations_are_a_list() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    for expect in [
        "Expect: 100-continue, 100-continue",
        "Expect: 100-continue\r\nExpect: 100-Continue",
        "Expect: , 100-continue,",
        "Expect:\r\nExpect: 100-continue",
    ] {
        ask(proxy.addr(), format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}\r\nContent-Length: 2\r\n\r\nok")).expect(200);
        let seen = origin.requests().pop().unwrap().fields;
        assert_eq!(seen.get("Expect").map(str::to_ascii_lowercase).as_deref(), Some("100-continue"), "{expect}");
    }
    for expect in ["Expect:", "Expect: ,"] {
        ask(proxy.addr(), format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}\r\nContent-Length: 2\r\n\r\nok")).expect(200);
        assert!(!origin.requests().pop().unwrap().fields.has("Expect"));
    }
    for expect in ["Expect: tea", "Expect: 100-continue, tea"] {
        ask(proxy.addr(), format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}\r\nContent-Length: 2\r\n\r\nok")).expect(417);
    }
}

/// RFC 9110 15.5.22: without it the client does not know what to ask for.
#[test]
fn upgrade_required_says_to_what() {
    let origin =
        Origin::saying("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno");
    let proxy = Config::to(&origin).start();
    let answer = get(proxy.addr(), "/").expect(426);
    assert_eq!(answer.fields.get("Upgrade"), Some("TLS/1.0, HTTP/1.1"));
    assert!(answer.fields.lists("Connection", "upgrade") && answer.fields.lists("Connection", "close"), "{:?}", answer.fields);
}

#[test]
fn reason_phrases_in_other_letters_pass() {
    for head in ["HTTP/1.1 200 G\u{e9}nial \u{4e00}\r\nContent-Length: 2", "HTTP/1.1 200 G\u{e9}nial \u{4e00}\r\nContent-Length:2"] {
        let origin = Origin::saying(format!("{head}\r\n\r\nok"));
        let proxy = Config::to(&origin).start();
        let reason = get(proxy.addr(), "/").expect(200).reason;
        assert_eq!(reason.chars().map(|c| c as u8).collect::<Vec<_>>(), "G\u{e9}nial \u{4e00}".as_bytes());
    }
}

/// RFC 9110 2.5: a later minor version means nothing that an earlier one would misunderstand.
#[test]
fn later_minor_versions_are_read_as_1_1() {
    let origin = Origin::saying("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for minor in 2..=9 {
        client.send(format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n"));
        let answer = client.response().expect(200);
        assert_eq!(answer.version, "HTTP/1.1");
        assert_eq!(origin.requests().pop().unwrap().version, "HTTP/1.1");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.1"] {
        ask(proxy.addr(), format!("GET / {version}\r\nHost: a\r\n\r\n")).expect(505);
    }
}

#[test]
fn via_tells_the_version_that_was_received() {
    let origin = Origin::each(|conn, request| {
        let version = if request.target == "/old" { "HTTP/1.0" } else { "HTTP/1.1" };
        conn.send(format!("{version} 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    });
    let proxy = Config::to(&origin).start();
    for (version, path, up, down) in [
        ("1.1", "/", "1.1 tidegate", "1.1 tidegate"),
        ("1.0", "/", "1.0 tidegate", "1.1 tidegate"),
        ("1.1", "/old", "1.1 tidegate", "1.0 tidegate"),
    ] {
        let answer = ask(proxy.addr(), format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")).expect(200);
        assert_eq!(origin.requests().pop().unwrap().fields.get("Via"), Some(up));
        assert_eq!(answer.fields.get("Via"), Some(down));
    }
}

#[test]
fn via_can_be_left_out_upstream() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("headers.via", false).start();
    let many = "Via: 1.1 tidegate\r\n".repeat(12);
    let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\n{many}Via: 1.1 other\r\n\r\n")).expect(200);
    assert!(!origin.request().fields.has("Via"));
    assert_eq!(answer.fields.get("Via"), Some("1.1 tidegate"));
}

#[test]
fn a_malformed_answer_is_told_by_the_rule_that_it_breaks() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n", "obs-fold"),
        ("HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n", "a blank before its colon"),
        ("HTTP/1.1 200 OK\r\nX-A\r\n\r\n", "no colon"),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "no name before its colon"),
        ("HTTP/1.1 200 OK\r\nX-A: b\0c\r\n\r\n", "a control character"),
        ("HTTP/1.1 200 OK\r\nX\x01A: b\r\n\r\n", "a control character"),
        ("HTTP/1.1 200 OK\r\nX(A: b\r\n\r\n", "no token"),
        ("HTTP/1.1 999 OK\r\n\r\n", "not one of 100 to 599"),
        ("HTTP/1.1 20 OK\r\n\r\n", "begins no HTTP/1 answer"),
        ("HTTP/1.1 200 O\x01K\r\n\r\n", "reason phrase has a control character"),
        ("HTTP/2.0 200 OK\r\n\r\n", "begins no HTTP/1 answer"),
    ];
    let origin = Origin::each(move |conn, request| conn.send(cases[request.target[1..].parse::<usize>().unwrap()].0));
    let proxy = Config::to(&origin).set("circuit_breaker.failure_threshold", 0).start();
    for (i, (answer, rule)) in cases.iter().enumerate() {
        let said = get(proxy.addr(), &format!("/{i}")).expect(502);
        assert_eq!(said.fields.get("Proxy-Status"), Some("tidegate; error=http_protocol_error"));
        assert!(said.text().contains(rule), "{answer:?}: {}", said.text());
    }
}

/// Applications behind CGI, FastCGI or WSGI confuse fields with variables that the server sets.
#[test]
fn names_of_cgi_reach_nobody() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let names = [
        "SCRIPT_NAME",
        "Script-Filename",
        "path_info",
        "PATH-TRANSLATED",
        "Remote_User",
        "remote-addr",
        "REMOTE_HOST",
        "Server-Name",
        "server_port",
        "HTTPS",
        "auth_type",
    ];
    let lines: String = names.iter().map(|name| format!("{name}: forged\r\n")).collect();
    ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}Script: kept\r\nmy_field: kept\r\n\r\n")).expect(200);
    let seen = origin.request().fields;
    assert!(!seen.0.iter().any(|(_, value)| value == "forged"), "{seen:?}");
    assert_eq!((seen.get("Script"), seen.get("my_field")), (Some("kept"), Some("kept")));
}

/// Lists in `Connection` that cost more than their bytes.
#[test]
fn a_list_of_a_hundred_members_is_long_enough() {
    let origin = Origin::each(|conn, request| {
        let list = request.fields.get("X-Say").unwrap_or_default().to_owned();
        conn.send(format!("HTTP/1.1 200 OK\r\nConnection: {list}\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok"));
    });
    let proxy = Config::to(&origin).start();
    let list = |n: usize| "x-hop,".repeat(n - 1) + "x-hop";
    let asked = |fields: &str| ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    asked(&format!("X-Hop: 1\r\nConnection: {}", list(100))).expect(200);
    assert!(!origin.requests().pop().unwrap().fields.has("X-Hop"));
    asked(&format!("Connection: {}", list(101))).expect(431);
    asked(&format!("Connection: {}", ",".repeat(100))).expect(431);
    let answer = asked(&format!("X-Say: {}", list(100))).expect(200);
    assert!(!answer.fields.has("X-Hop"));
    let refusal = asked(&format!("X-Say: {}", ",".repeat(100))).expect(502);
    assert_eq!(refusal.fields.get("Proxy-Status"), Some("tidegate; error=http_response_header_size"));
}
