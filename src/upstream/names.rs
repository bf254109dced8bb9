//! What names lead to at one moment.

use crate::base::address::Address;
use crate::config::model::Origin;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The targets of each name, in ascending order and each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<Arc<str>, Arc<[NameTarget]>>);

/// One of the addresses that a name leads to, and what SRV records say of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameTarget {
    /// The port is 0 where the upstream's configuration has it.
    pub address: SocketAddr,
    pub share: Share,
    /// The name that an SRV record leads to.
    pub host: Option<Arc<str>>,
}

/// How much a server gets beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// It gets requests only while none of a lower rank is usable: 0 to [`Share::LAST`].
    pub rank: u32,
    /// The upstream's weight is multiplied by it: 1 to [`Share::MOST`].
    pub weight: u32,
}

impl Share {
    /// The highest rank; what would come later has it too.
    pub const LAST: u32 = 7;
    /// The greatest weight.
    pub const MOST: u32 = 1000;
    /// That of a server of which no SRV record says anything.
    pub const WHOLE: Self = Self { rank: 0, weight: 1 };
}

impl From<SocketAddr> for NameTarget {
    /// An address that was found for a plain name; its port means nothing.
    fn from(mut address: SocketAddr) -> Self {
        address.set_port(0);
        Self { address, share: Share::WHOLE, host: None }
    }
}

impl Names {
    /// Sets what a name leads to.
    pub fn set(&mut self, name: Arc<str>, targets: Arc<[NameTarget]>) {
        self.0.insert(name, targets);
    }

    /// What a name leads to: nothing if it is not known.
    pub fn of(&self, name: &str) -> &[NameTarget] {
        self.0.get(name).map_or(&[], |targets| targets)
    }

    /// Where an upstream can be dialled.
    pub fn places(&self, origin: &Origin) -> Vec<(Address, Share)> {
        let Some(name) = origin.name() else { return origin.address().map(|address| (address, Share::WHOLE)).into_iter().collect() };
        let place = |target: &NameTarget| {
            let mut address = target.address;
            if let Origin::Tcp { port, .. } = origin {
                address.set_port(*port);
            }
            (Address::Ip(address), target.share)
        };
        self.of(name).iter().map(place).collect()
    }
}

/// The answer to a look-up, in the order that [`Names`] keeps. Of what is at one address, the first to be used counts.
pub fn in_order(mut targets: Vec<NameTarget>) -> Arc<[NameTarget]> {
    targets.sort_unstable();
    targets.dedup_by_key(|target| target.address);
    targets.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(names: &Names, origin: &Origin) -> Vec<String> {
        names.places(origin).iter().map(|(address, _)| address.to_string()).collect()
    }

    #[test]
    fn the_order_of_an_answer_and_what_is_in_it_twice_mean_nothing() {
        let address = |last: u8, port: u16| NameTarget::from(SocketAddr::from(([10, 0, 0, last], port)));
        let mut names = Names::default();
        names.set("a.test".into(), in_order(vec![address(2, 1), address(1, 0), address(2, 7)]));
        assert_eq!(dialled(&names, &Origin::tcp("a.test", 80)), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(dialled(&names, &Origin::tcp("b.test", 80)), [""; 0]);
        assert_eq!(dialled(&names, &Origin::tcp("::1", 80)), ["[::1]:80"]);
    }

    #[test]
    fn targets_of_srv_records_have_ports_of_their_own() {
        let target = |port: u16, rank| {
            let address = SocketAddr::from(([10, 0, 0, 1], port));
            NameTarget { address, share: Share { rank, weight: 1 }, host: Some("a.test".into()) }
        };
        let mut names = Names::default();
        names.set("srv:_a.test".into(), in_order(vec![target(2, 1), target(1, 0), target(2, 0)]));
        let origin = Origin::Srv("srv:_a.test".into());
        assert_eq!(dialled(&names, &origin), ["10.0.0.1:1", "10.0.0.1:2"]);
        assert!(names.places(&origin).iter().all(|(_, share)| share.rank == 0));
    }
}
