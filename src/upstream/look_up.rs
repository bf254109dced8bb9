//! One look-up: of a plain name by the system's resolver, of a name of SRV records by a name server. It blocks.

use super::dns::{self, SrvAnswer, SrvRecord};
use super::names::{NameTarget, Share};
use crate::config::model::SRV;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many targets of a name are used.
const MAX_TARGETS: usize = 1000;
/// How long the hosts of one answer are looked up; those that are left keep their last addresses.
const HOSTS_PATIENCE: Duration = Duration::from_secs(20);

/// What is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// A host name, or `srv:` and the name of SRV records.
    pub name: &'a str,
    /// The configured name server for SRV records.
    pub server: Option<&'a str>,
    /// What the name led to before.
    pub known: &'a [NameTarget],
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub struct LookUpAnswer {
    pub targets: Vec<NameTarget>,
    /// For how long that holds, where it is known.
    pub ttl_ms: Option<u64>,
}

impl FromIterator<SocketAddr> for LookUpAnswer {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addresses: I) -> Self {
        Self { targets: addresses.into_iter().map(NameTarget::from).collect(), ttl_ms: None }
    }
}

/// Looks a name up.
pub fn look_up(question: &Question) -> io::Result<LookUpAnswer> {
    let Some(name) = question.name.strip_prefix(SRV) else { return Ok((question.name, 0).to_socket_addrs()?.collect()) };
    let answer = dns::srv(name, question.server)?;
    let deadline = Instant::now() + HOSTS_PATIENCE;
    found(answer, question.known, |host| {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    })
}

/// The targets of an answer. The hosts whose addresses it lacks are looked up; one that cannot be keeps those that it had.
pub(super) fn found(
    answer: SrvAnswer,
    known: &[NameTarget],
    find: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
) -> io::Result<LookUpAnswer> {
    let SrvAnswer { mut records, ttl } = answer;
    records.sort_by_key(|record| record.priority);
    let priorities: BTreeSet<u16> = records.iter().map(|record| record.priority).collect();
    let ranks: BTreeMap<u16, u32> = priorities.into_iter().zip(0..).map(|(priority, rank)| (priority, Share::LAST.min(rank))).collect();
    let heaviest = records.iter().map(|record| record.weight).max().unwrap_or_default();
    let (looked_up, failure) = hosts(&records, known, find);
    let mut targets = Vec::new();
    for SrvRecord { host, port, priority, weight, addresses } in records {
        if targets.len() >= MAX_TARGETS {
            break;
        }
        let share = Share { rank: ranks.get(&priority).copied().unwrap_or_default(), weight: scaled(weight, heaviest) };
        let addresses = looked_up.get(&host).cloned().unwrap_or(addresses);
        let host: Arc<str> = host.into();
        targets.extend(addresses.iter().map(|&ip| NameTarget { address: SocketAddr::new(ip, port), share, host: Some(host.clone()) }));
    }
    targets.truncate(MAX_TARGETS);
    match failure {
        Some(failure) if targets.is_empty() => Err(failure),
        _ => Ok(LookUpAnswer { targets, ttl_ms: Some(u64::from(ttl) * 1000) }),
    }
}

/// The hosts whose addresses the records lack, and why the first that could not be looked up could not. Their order is random, so that
/// each has its turn some time, even if others take all the time that there is.
fn hosts(
    records: &[SrvRecord],
    known: &[NameTarget],
    mut find: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
) -> (BTreeMap<String, Vec<IpAddr>>, Option<io::Error>) {
    let lacking: BTreeSet<&str> = records.iter().filter(|record| record.addresses.is_empty()).map(|record| record.host.as_str()).collect();
    let mut lacking: Vec<&str> = lacking.into_iter().collect();
    fastrand::shuffle(&mut lacking);
    let mut failure = None;
    let look_up = |host: &str| {
        let addresses = find(host).unwrap_or_else(|error| {
            failure.get_or_insert_with(|| io::Error::other(format!("its target {host}: {error}")));
            let of_host = known.iter().filter(|target| target.host.as_deref() == Some(host));
            of_host.map(|target| target.address.ip()).collect::<BTreeSet<_>>().into_iter().collect()
        });
        (host.to_owned(), addresses)
    };
    (lacking.into_iter().map(look_up).collect(), failure)
}

/// A weight of SRV records (0 to 65535) as one of ours: the same, unless the heaviest of the answer is more than ours can be.
fn scaled(weight: u16, heaviest: u16) -> u32 {
    let (weight, heaviest) = (u32::from(weight.max(1)), u32::from(heaviest));
    if heaviest <= Share::MOST { weight } else { (weight * Share::MOST / heaviest).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(host: &str, port: u16, priority: u16, weight: u16, addresses: &[&str]) -> SrvRecord {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        SrvRecord { host: host.into(), port, priority, weight, addresses }
    }

    fn shown(found: &LookUpAnswer) -> Vec<String> {
        found.targets.iter().map(|NameTarget { address, share, .. }| format!("{address} {}/{}", share.rank, share.weight)).collect()
    }

    #[test]
    fn ranks_and_weights() {
        let records =
            vec![record("c", 3, 900, 0, &["::1"]), record("a", 1, 5, 0, &["10.0.0.1", "10.0.0.2"]), record("b", 2, 5, 20, &["10.0.0.1"])];
        let found = found(SrvAnswer { records, ttl: 7 }, &[], |_| unreachable!("the answer has all addresses")).unwrap();
        assert_eq!(shown(&found), ["10.0.0.1:1 0/1", "10.0.0.2:1 0/1", "10.0.0.1:2 0/20", "[::1]:3 1/1"]);
        assert_eq!(found.ttl_ms, Some(7000));
        assert_eq!([0, 1, 33, 65535].map(|weight| scaled(weight, 65535)), [1, 1, 1, 1000]);
        assert_eq!(scaled(1000, 1000), 1000);
    }

    #[test]
    fn there_are_only_so_many_targets_and_ranks() {
        let records = (0..1000).map(|n| record("a", n + 1, n, 1, &["10.0.0.1", "10.0.0.2"])).collect();
        let found = found(SrvAnswer { records, ttl: 0 }, &[], |_| unreachable!()).unwrap();
        assert_eq!((found.targets.len(), found.targets.iter().map(|target| target.share.rank).max()), (1000, Some(Share::LAST)));
    }

    #[test]
    fn a_host_is_looked_up_once_and_keeps_its_addresses_if_that_fails() {
        let answer = |hosts: &[&str]| {
            let records = (1..).zip(hosts).map(|(port, host)| record(host, port, 0, 1, &[])).collect();
            SrvAnswer { records, ttl: 1 }
        };
        let mut asked = Vec::new();
        let first = found(answer(&["a", "b", "a"]), &[], |host| {
            asked.push(host.to_owned());
            Ok(vec![if host == "a" { "10.0.0.1" } else { "10.0.0.2" }.parse().unwrap()])
        });
        let first = first.unwrap();
        asked.sort();
        assert_eq!(asked, ["a", "b"]);
        assert_eq!(shown(&first), ["10.0.0.1:1 0/1", "10.0.0.2:2 0/1", "10.0.0.1:3 0/1"]);
        let fails = |_: &str| Err(io::Error::other("no answer"));
        assert_eq!(shown(&found(answer(&["a", "c"]), &first.targets, fails).unwrap()), ["10.0.0.1:1 0/1"]);
        let failure = found(answer(&["c", "d"]), &first.targets, fails).unwrap_err();
        assert!(["its target c: no answer", "its target d: no answer"].contains(&failure.to_string().as_str()), "{failure}");
    }
}
