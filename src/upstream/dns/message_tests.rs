use super::*;

const NAME: &str = "_http._tcp.web.internal";

/// A name as it stands in a message.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    [owner, &kind.to_be_bytes(), &1u16.to_be_bytes(), &ttl.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

fn srv(owner: &str, ttl: u32, [priority, weight, port]: [u16; 3], target: &str) -> Vec<u8> {
    let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
    record(&wire(owner), 33, ttl, &[&numbers[..], &wire(target)].concat())
}

fn asked() -> Vec<u8> {
    question(7, NAME).unwrap()
}

/// An answer to [`asked`] with these flags, answers and additional records.
fn reply(flags: u16, answers: &[Vec<u8>], additional: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = asked();
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&(answers.len() as u16).to_be_bytes());
    bytes[10..12].copy_from_slice(&(additional.len() as u16).to_be_bytes());
    [bytes, answers.concat(), additional.concat()].concat()
}

const OK: u16 = 0x8180;

fn whole() -> Vec<u8> {
    let alias = record(&wire("_HTTP._tcp.WEB.internal"), 5, 30, &wire("_http._tcp.other.internal"));
    let answers = [
        alias,
        srv("_http._tcp.other.internal", 60, [10, 0, 8080], "A.web.internal"),
        srv("_http._tcp.other.internal", 20, [20, 5, 8081], "b.web.internal"),
        srv("_http._tcp.elsewhere.internal", 1, [0, 0, 1], "c.web.internal"),
        srv("_http._tcp.other.internal", 20, [0, 0, 1], "."),
        srv("_http._tcp.other.internal", 20, [0, 0, 1], "a b.test"),
        record(&wire("_http._tcp.other.internal"), 16, 9, b"\x01x"),
    ];
    let v6: [u8; 16] = std::net::Ipv6Addr::LOCALHOST.octets();
    let additional = [record(&wire("a.web.internal"), 1, 25, &[10, 0, 0, 1]), record(&wire("a.WEB.internal"), 28, 25, &v6)];
    reply(OK, &answers, &additional)
}

#[test]
fn targets_with_what_comes_with_them() {
    let Some(SrvReply::Answer(answer)) = read(&whole(), &asked()) else { panic!("{:?}", read(&whole(), &asked())) };
    assert_eq!(answer.ttl, 20);
    let target = |host: &str, port, priority, weight, addresses: &[&str]| SrvRecord {
        host: host.into(),
        port,
        priority,
        weight,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let (a, b) = (target("a.web.internal", 8080, 10, 0, &["10.0.0.1", "::1"]), target("b.web.internal", 8081, 20, 5, &[]));
    assert_eq!(answer.records, [a, b]);
}

#[test]
fn an_answer_holds_no_longer_than_any_part_of_it() {
    let ttl = |alias, records, address| {
        let answers = [record(&wire(NAME), 5, alias, &wire("a.test")), srv("a.test", records, [0, 0, 1], "b.test")];
        let additional = [record(&wire("b.test"), 1, address, &[10, 0, 0, 1]), record(&wire("c.test"), 1, 1, &[10, 0, 0, 1])];
        let Some(SrvReply::Answer(answer)) = read(&reply(OK, &answers, &additional), &asked()) else { panic!("it is an answer") };
        answer.ttl
    };
    assert_eq!([ttl(10, 20, 30), ttl(20, 10, 30), ttl(20, 30, 10), ttl(u32::MAX, 0, 9)], [10, 10, 10, 0]);
}

#[test]
fn what_is_no_answer_to_the_question_is_ignored() {
    let good = whole();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        read(&bytes, &asked())
    };
    assert_eq!(changed(1, 8), None, "another id");
    assert_eq!(changed(2, 1), None, "a question");
    assert_eq!(changed(14, b'x'), None, "another name");
    assert_eq!(changed(12 + wire(NAME).len() + 1, 1), None, "another type");
    assert_eq!(changed(5, 0), None, "no question");
    assert_eq!(read(b"", &asked()), None);
}

#[test]
fn what_servers_say_instead() {
    let useless = |flags: u16| read(&reply(flags, &[], &[]), &asked());
    assert_eq!(useless(OK | 3), Some(SrvReply::Absent("there is no such name")));
    assert_eq!(useless(OK), Some(SrvReply::Absent("it has no SRV records")));
    assert_eq!(useless(OK | 0x200), Some(SrvReply::Truncated));
    assert_eq!(useless(OK | 2), Some(SrvReply::Useless("it answers SERVFAIL".into())));
    let mut bare = asked()[..12].to_vec();
    bare[2..6].copy_from_slice(&[0x81, 0x81, 0, 0]);
    assert_eq!(read(&bare, &asked()), Some(SrvReply::Useless("it answers FORMERR".into())));
    let cut = &whole()[..whole().len() / 2];
    assert_eq!(read(cut, &asked()), Some(SrvReply::Useless("its answer is malformed".into())));
}

#[test]
fn an_answer_with_too_many_targets_is_used_in_part() {
    let many: Vec<_> = (0..1200).map(|n| srv(NAME, 1, [0, 0, 1 + n], "a.test")).collect();
    let Some(SrvReply::Answer(answer)) = read(&reply(OK, &many, &[]), &asked()) else { panic!("it is an answer") };
    assert_eq!(answer.records.len(), 1000);
    let addresses: Vec<_> = (0..100).map(|n| record(&wire("a.test"), 1, 1, &[10, 0, 0, n])).collect();
    let Some(SrvReply::Answer(answer)) = read(&reply(OK, &many[..2], &addresses), &asked()) else { panic!("it is an answer") };
    assert!(answer.records.iter().all(|record| record.addresses.len() == 64));
}

#[test]
fn no_bytes_do_harm() {
    let mut rng = fastrand::Rng::with_seed(1);
    let good = whole();
    for _ in 0..100_000 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..6) {
            // The header and question mostly stay, so that the rest is read.
            let first = if rng.u8(..) < 16 { 0 } else { 12 + wire(NAME).len() + 4 };
            let at = rng.usize(first..bytes.len());
            bytes[at] = if rng.bool() { 0xC0 } else { rng.u8(..) };
        }
        bytes.truncate(if rng.bool() { bytes.len() } else { rng.usize(..bytes.len()) });
        read(&bytes, &asked());
    }
    // Pointers that lead to themselves, and to each other.
    let at = good.len() as u16;
    for pointer in [at, at + 2, 12, 0x3FFF] {
        let mut bytes = reply(OK, &[whole()[..0].to_vec()], &[]);
        bytes.extend((0xC000 | pointer).to_be_bytes());
        bytes.extend((0xC000 | at).to_be_bytes());
        read(&bytes, &asked());
    }
}

#[test]
fn names_that_cannot_be_asked_for() {
    for bad in ["", "a..b", &"x".repeat(64), &["x".repeat(63).as_str(); 5].join(".")] {
        let _ = question(1, bad);
    }
    assert!(question(1, &"x".repeat(64)).is_err());
}
