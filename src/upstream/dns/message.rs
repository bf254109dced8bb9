//! What is asked, and what an answer says. Whatever bytes an answer has, reading it takes a bounded time and cannot panic.

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, ParsedName, Rtype, Ttl};
use domain::dep::octseq::array::Array;
use domain::rdata::{A, Aaaa, Cname, Srv};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// How many targets of an answer are used.
const MAX_TARGETS: usize = 1000;
/// How many additional addresses of each family are used.
const MAX_ADDRESSES: usize = 4 * MAX_TARGETS;
/// How many additional addresses of one host are used: every target of that host gets a copy.
const MAX_OF_HOST: usize = 64;
/// A question has a header, one name, its type and class.
const MAX_QUESTION: usize = 512;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvAnswer {
    pub records: Vec<SrvRecord>,
    /// For how many seconds all of the answer holds.
    pub ttl: u32,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// In lower case.
    pub host: String,
    pub port: u16,
    /// The lowest is used first.
    pub priority: u16,
    pub weight: u16,
    /// Its addresses, if the answer has them.
    pub addresses: Vec<IpAddr>,
}

/// What comes in return for a question.
#[derive(Debug, PartialEq, Eq)]
pub enum SrvReply {
    Answer(SrvAnswer),
    /// It was cut off: the whole of it comes by TCP.
    Truncated,
    /// There are no such records, whichever server is asked.
    Absent(&'static str),
    /// This server does not help.
    Useless(String),
}

/// The question for the SRV records of a name.
pub fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let invalid = |what: &str| io::Error::other(format!("{name} {what}"));
    let qname: Name<Array<255>> = Name::from_chars(name.chars()).map_err(|_| invalid("is no name"))?;
    let mut builder = MessageBuilder::from_target(Array::<MAX_QUESTION>::default()).map_err(|_| invalid("is too long"))?;
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut questions = builder.question();
    questions.push((&qname, Rtype::SRV)).map_err(|_| invalid("is too long"))?;
    Ok(questions.finish().as_ref().to_vec())
}

/// Reads what has come in return for `question`; `None` if it has nothing to do with that.
pub fn read(bytes: &[u8], question: &[u8]) -> Option<SrvReply> {
    let (message, question) = (Message::from_octets(bytes).ok()?, Message::from_octets(question).ok()?);
    let header = message.header();
    if !header.qr() || header.id() != question.header().id() {
        return None;
    }
    // A server that cannot read the question may leave it out of its reply.
    let is_bare = message.header_counts().qdcount() == 0 && header.rcode() != Rcode::NOERROR;
    if !is_bare {
        let (asked, answered) = (question.sole_question().ok()?, message.sole_question().ok()?);
        if asked != answered || answered.qclass() != Class::IN {
            return None;
        }
    }
    Some(match header.rcode() {
        Rcode::NXDOMAIN => SrvReply::Absent("there is no such name"),
        Rcode::NOERROR if header.tc() => SrvReply::Truncated,
        Rcode::NOERROR => match answer(&message) {
            Some(answer) if answer.records.is_empty() => SrvReply::Absent("it has no SRV records"),
            Some(answer) => SrvReply::Answer(answer),
            None => SrvReply::Useless("its answer is malformed".into()),
        },
        other => SrvReply::Useless(format!("it answers {other}")),
    })
}

/// `None` if it is malformed.
fn answer(message: &Message<&[u8]>) -> Option<SrvAnswer> {
    // Of the question, or of what CNAMEs in the answer lead to.
    let owner = message.canonical_name()?;
    let mut answer = SrvAnswer { records: Vec::new(), ttl: u32::MAX };
    for record in message.answer().ok()?.limit_to_in::<Srv<ParsedName<_>>>() {
        let record = record.ok()?;
        if *record.owner() != owner {
            continue;
        }
        answer.ttl = answer.ttl.min(record.ttl().as_secs());
        let srv = record.data();
        if let Some(host) = host(srv.target()).filter(|_| srv.port() != 0 && answer.records.len() < MAX_TARGETS) {
            let (port, priority, weight) = (srv.port(), srv.priority(), srv.weight());
            answer.records.push(SrvRecord { host, port, priority, weight, addresses: Vec::new() });
        }
    }
    for alias in message.answer().ok()?.limit_to_in::<Cname<ParsedName<_>>>() {
        answer.ttl = answer.ttl.min(alias.ok()?.ttl().as_secs());
    }
    let addresses = additional(message).unwrap_or_default();
    for record in &mut answer.records {
        if let Some(of_host) = addresses.get(&record.host) {
            record.addresses = of_host.addresses.clone();
            answer.ttl = answer.ttl.min(of_host.ttl);
        }
    }
    Some(answer)
}

/// What comes with an answer for one host.
struct HostAddresses {
    addresses: Vec<IpAddr>,
    ttl: u32,
}

/// The addresses that come with an answer; `None` if they are malformed.
fn additional(message: &Message<&[u8]>) -> Option<BTreeMap<String, HostAddresses>> {
    let mut addresses: BTreeMap<String, HostAddresses> = BTreeMap::new();
    let mut add = |host: String, ip: IpAddr, ttl: Ttl| {
        let of_host = addresses.entry(host).or_insert_with(|| HostAddresses { addresses: Vec::new(), ttl: u32::MAX });
        of_host.ttl = of_host.ttl.min(ttl.as_secs());
        if of_host.addresses.len() < MAX_OF_HOST {
            of_host.addresses.push(ip);
        }
    };
    let section = message.additional().ok()?;
    for record in section.limit_to_in::<A>().take(MAX_ADDRESSES) {
        let record = record.ok()?;
        add(host(record.owner())?, IpAddr::V4(record.data().addr()), record.ttl());
    }
    for record in section.limit_to_in::<Aaaa>().take(MAX_ADDRESSES) {
        let record = record.ok()?;
        add(host(record.owner())?, IpAddr::V6(record.data().addr()), record.ttl());
    }
    Some(addresses)
}

/// A name that a host can have; `None` for the root, which says that there is no target.
fn host(name: &ParsedName<&[u8]>) -> Option<String> {
    let host = name.to_string().to_ascii_lowercase();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (host != "." && !host.is_empty() && host.bytes().all(fits)).then_some(host)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
