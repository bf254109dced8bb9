//! Properties of any bytes as the answer of a name server, as a function that panics where one does not hold: the body of a fuzz
//! target, through which its corpus is replayed. Nothing here runs in the proxy.

use super::dns::{SrvAnswer, SrvReply, question, read};
use super::look_up::found;
use super::names::{NameTarget, Share, in_order};
use std::io;
use std::net::IpAddr;

/// What is asked: `_http._tcp.web.internal`.
pub const NAME: &str = "_http._tcp.web.internal";
/// The number of the question, which every input is given as well: nobody guesses it.
const ID: u16 = 7;

/// How an input was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerVerdict {
    /// It has targets.
    Accepted,
    /// It was cut off.
    Incomplete,
    /// It is no answer to the question, or none that helps.
    Refused,
}

/// An answer has a bounded number of targets that can be dialled, and is read in one way only.
pub fn answer(input: &[u8]) -> AnswerVerdict {
    let Ok(question) = question(ID, NAME) else { unreachable!("it can be asked for") };
    let mut bytes = input.to_vec();
    bytes.iter_mut().zip(ID.to_be_bytes()).for_each(|(byte, id)| *byte = id);
    let answer = match read(&bytes, &question) {
        Some(SrvReply::Answer(answer)) => answer,
        Some(SrvReply::Truncated) => return AnswerVerdict::Incomplete,
        Some(SrvReply::Absent(_) | SrvReply::Useless(_)) | None => return AnswerVerdict::Refused,
    };
    bytes[0] ^= 1;
    assert!(read(&bytes, &question).is_none(), "it has another number");
    check(&answer);
    check_targets(&answer);
    AnswerVerdict::Accepted
}

fn check(answer: &SrvAnswer) {
    assert!((1..=1000).contains(&answer.records.len()), "{} records", answer.records.len());
    for record in &answer.records {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
        assert!(!record.host.is_empty() && record.host.len() < 255 && record.host.bytes().all(is_plain), "{:?}", record.host);
        assert!(record.port > 0 && record.addresses.len() <= 64, "{record:?}");
    }
}

/// Whether the hosts that it has no addresses of can be looked up or not.
fn check_targets(answer: &SrvAnswer) {
    let address = |host: &str| Ok(vec![IpAddr::from([10, 0, 0, host.len() as u8])]);
    let Ok(all) = found(answer.clone(), &[], address) else { panic!("every host has an address") };
    check_shares(&all.targets);
    let fails = |_: &str| Err(io::ErrorKind::NotFound.into());
    let again = found(answer.clone(), &all.targets, fails).map(|found| found.targets);
    assert!(again.is_ok_and(|targets| in_order(targets) == in_order(all.targets)), "what was known of the hosts is lost");
    if let Ok(some) = found(answer.clone(), &[], fails) {
        check_shares(&some.targets);
    }
}

fn check_shares(targets: &[NameTarget]) {
    assert!((1..=1000).contains(&targets.len()), "{} targets", targets.len());
    assert!(targets.is_sorted_by_key(|target| target.share.rank) && targets[0].share.rank == 0, "the first priority comes first");
    assert!(targets.iter().all(|NameTarget { share, .. }| share.rank <= Share::LAST && (1..=Share::MOST).contains(&share.weight)));
}
