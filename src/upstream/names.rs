//! What names lead to at one moment.

use crate::base::address::Address;
use crate::config::model::Origin;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The addresses of each name, in ascending order and each once. Their ports do not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<Arc<str>, Arc<[SocketAddr]>>);

impl Names {
    /// Sets what a name leads to.
    pub fn set(&mut self, name: Arc<str>, addresses: Arc<[SocketAddr]>) {
        self.0.insert(name, addresses);
    }

    /// What a name leads to: nothing if it is not known.
    pub fn of(&self, name: &str) -> &[SocketAddr] {
        self.0.get(name).map_or(&[], |addresses| addresses)
    }

    /// Where an upstream can be dialled.
    pub fn addresses(&self, origin: &Origin) -> Vec<Address> {
        let Origin::Tcp { port, .. } = origin else { return origin.address().into_iter().collect() };
        let with_port = |mut address: SocketAddr| {
            address.set_port(*port);
            Address::Ip(address)
        };
        match origin.name() {
            Some(name) => self.of(name).iter().copied().map(with_port).collect(),
            None => origin.address().into_iter().collect(),
        }
    }
}

/// The answer to a look-up, in the order that [`Names`] keeps.
pub fn in_order(mut addresses: Vec<SocketAddr>) -> Arc<[SocketAddr]> {
    addresses.iter_mut().for_each(|address| address.set_port(0));
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_an_answer_and_what_is_in_it_twice_mean_nothing() {
        let address = |last: u8, port: u16| SocketAddr::from(([10, 0, 0, last], port));
        let mut names = Names::default();
        names.set("a.test".into(), in_order(vec![address(2, 1), address(1, 0), address(2, 7)]));
        let dialled = |origin: &Origin| names.addresses(origin).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(dialled(&Origin::tcp("a.test", 80)), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(dialled(&Origin::tcp("b.test", 80)), [""; 0]);
        assert_eq!(dialled(&Origin::tcp("::1", 80)), ["[::1]:80"]);
    }
}
