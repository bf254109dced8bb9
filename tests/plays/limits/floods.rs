//! Floods: large or many things cost in proportion, and memory stays within the limits.

use crate::support::*;

/// The defaults of the limits of a head: bytes of a field line, field lines, bytes of the whole.
const LINE: usize = 16384;
const LINES: usize = 100;
const TOTAL: usize = 65_536;

/// A request with those field lines behind `Host`, which is one of the hundred.
fn head(lines: impl IntoIterator<Item = String>) -> String {
    let fields = lines.into_iter().map(|line| line + "\r\n").collect::<String>();
    format!("GET /head HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// `Connection`, or another list, as often and as long as fits, of that member; and short fields up to the number of lines.
fn lists(name: &str, member: &str) -> String {
    let value = member.repeat((LINE / 2 - name.len() - 2) / member.len());
    let lists = (0..7).map(|_| format!("{name}: {value}"));
    head(lists.chain((0..LINES - 8).map(|i| format!("x{i:02}:"))))
}

/// As many options of `Connection` as there may be, and as many fields, long and alike.
fn options() -> String {
    let name = |i: usize| format!("{}{i:03}", "x".repeat(150));
    let list = (0..LINES).map(name).collect::<Vec<_>>().join(",");
    let fields = (0..LINES - 2).map(|i| format!("{}: {}", name(i * 2), "v".repeat(330)));
    head(std::iter::once(format!("Connection: {list}")).chain(fields))
}

/// Heads close to every limit, by what they are full of.
fn large_heads() -> Vec<(&'static str, String)> {
    let wide = |name: fn(usize) -> String| head((0..LINES - 1).map(|i| format!("{}: {}", name(i), "v".repeat(610))));
    // Which letters are capitals is the number in binary.
    let cased = |i: usize| "abcdefg".bytes().enumerate().map(|(k, b)| (b & !((i >> k & 1) as u8 * 32)) as char).collect();
    vec![
        ("ordinary fields", wide(|i| format!("X-Ordinary-{i:02}"))),
        ("equal names", wide(|_| "X-Equal".to_owned())),
        ("names that differ in case", wide(cased)),
        ("names of look-alikes", wide(|_| "x_".repeat(16))),
        ("blanks", head((0..LINES - 1).map(|i| format!("x{i}:{}", " \t".repeat(310))))),
        ("cookies", lists("Cookie", "a=b; ")),
        ("Accept", lists("Accept", "a,")),
        ("Via", lists("Via", "1 a,")),
        ("TE", lists("TE", "a,")),
        ("options of Connection", options()),
    ]
}

#[test]
fn heads_at_their_limits_cost_what_they_weigh() {
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let heads = large_heads();
    let ask = |client: &mut Client, head: &str| {
        client.send(head);
        assert_eq!(client.response().expect(200).text(), "a /head");
    };
    heads.iter().for_each(|(_, head)| ask(&mut client, head));
    let rss = proxy.rss_bytes();
    for (what, head) in &heads {
        assert!(head.len() > 50_000 && head.len() <= TOTAL, "{what} are {} bytes", head.len());
        let before = proxy.cpu_seconds();
        (0..80).for_each(|_| ask(&mut client, head));
        let spent = proxy.cpu_seconds() - before;
        assert!(spent < 0.5, "{what}: {spent} s of CPU for 80 requests");
    }
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 2 << 20, "grew by {growth} bytes");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn connection_names_no_more_fields_than_a_head_has() {
    let origin = Origin::each(|conn, request| {
        let n = request.target[1..].parse::<usize>().unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\nConnection: {}\r\nContent-Length: 2\r\n\r\nok", vec!["a"; n].join(", ")));
    });
    let proxy = Config::to(&origin).start();
    // Empty members cost as much as others.
    for option in ["a", ""] {
        let list = |n: usize| format!("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: {}\r\nX: y\r\n\r\n", vec![option; n].join(","));
        ask(proxy.addr(), list(LINES)).expect(200);
        refused(&proxy, list(LINES + 1), &[431]);
    }
    proxy.get("/100").expect(200);
    let answer = proxy.get("/101");
    proxy.expect_refusal(answer, 502, "http_response_header_size");
}

#[test]
fn limits_are_exact() {
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).start();
    let request_line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n - 14));
    let line = |n: usize| head([format!("X: {}", "y".repeat(n - 3))]);
    let lines = |n: usize| head((1..n).map(|_| "X: y".to_owned()));
    let total = |n: usize| {
        let lines = (0..8).map(|_| format!("X: {}", "y".repeat(8000)));
        let rest = n - head(lines.clone().chain(["X: ".to_owned()])).len();
        head(lines.chain([format!("X: {}", "y".repeat(rest))]))
    };
    for fits in [request_line(8192), line(LINE), lines(LINES), total(TOTAL)] {
        ask(proxy.addr(), fits).expect(200);
    }
    for (too_much, status) in [(request_line(8193), 414), (line(LINE + 1), 431), (lines(LINES + 1), 431), (total(TOTAL + 1), 431)] {
        refused(&proxy, too_much, &[status]);
    }
}

#[test]
fn many_small_things_cost_no_memory() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            let Some(request) = conn.read_body(head) else { return };
            conn.answer(request.body.len().to_string());
        }
    });
    let proxy = Config::to(&origin).start();
    proxy.get("/warm").expect(200);
    let rss = proxy.rss_bytes();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxy.client();
    client.send(format!("{post}{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000)));
    assert_eq!(client.response().expect(200).text(), "20000");
    client.send(format!("{post}{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(1000)).repeat(60)));
    assert_eq!(client.response().expect(200).text(), "60");
    client.send(format!("{post}0\r\n{}\r\n", format!("X: {}\r\n", "y".repeat(600)).repeat(LINES)));
    assert_eq!(client.response().expect(200).text(), "0");
    // More than any buffer holds, while the answers are not read.
    let mut writer = client.writer();
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3000);
    let writing = std::thread::spawn(move || writer.write(requests.as_bytes()));
    for _ in 0..3000 {
        assert_eq!(client.response().expect(200).text(), "0");
    }
    writing.join().unwrap().unwrap();
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 2 << 20, "grew by {growth} bytes");
}

#[test]
fn unfinished_heads_hold_no_more_than_their_limit() {
    const CLIENTS: usize = 150;
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).start();
    proxy.get("/warm").expect(200);
    let (rss, fds) = (proxy.rss_bytes(), proxy.fds());
    let received = proxy.metric("proxy_bytes_received_total", &[]);
    let whole = head((0..8).map(|i| format!("X-{i}: {}", "y".repeat(8100))));
    let (most, rest) = whole.split_at(whole.len() - 2);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(most));
    let expected = received + (CLIENTS * most.len()) as f64;
    wait_until("all of it is here", || proxy.metric("proxy_bytes_received_total", &[]) >= expected);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < CLIENTS * (TOTAL + 16_384) + (2 << 20), "grew by {growth} bytes");
    for client in &mut clients {
        client.send(rest);
        assert_eq!(client.response().expect(200).text(), "a /head");
    }
    // What lies idle after that holds nothing of it.
    drop(clients);
    wait_until("nothing is left", || proxy.fds() <= fds + 2);
}
