//! Handshakes of which only a part has come: whoever has begun one is treated like a client whose head has begun.

use super::handshakes::{config, start};
use crate::support::tls::{Authority, Session, TlsClient};
use crate::support::*;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// A handshake whose first message has come by half.
struct Begun {
    session: Session,
    rest: Vec<u8>,
}

impl Begun {
    fn new(client: &TlsClient, proxy: &Proxy) -> Begun {
        let mut stream = TcpStream::connect(proxy.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = ClientConnection::new(Arc::new(client.0.clone()), ServerName::try_from("a.test").unwrap()).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        let rest = hello.split_off(hello.len() / 2);
        stream.write_all(&hello).unwrap();
        Begun { session: Session { tls, stream }, rest }
    }

    /// Goes on with it, and asks for something.
    fn finish(self) -> String {
        let Begun { mut session, rest } = self;
        session.stream.write_all(&rest).unwrap();
        while session.tls.is_handshaking() {
            session.tls.complete_io(&mut session.stream).expect("the handshake goes on");
        }
        session.get("/")
    }
}

fn scene(change: impl FnOnce(Config) -> Config) -> (Proxy, Authority) {
    let authority = Authority::new("play");
    let (config, files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    (start((change(config), files)), authority)
}

fn wait_for_clients(proxy: &Proxy, n: usize) {
    wait_until(&format!("{n} clients are there"), || proxy.metric("proxy_client_connections", &[]) == n as f64);
}

#[test]
fn a_drain_waits_for_them() {
    let (proxy, authority) = scene(|config| config);
    let begun = Begun::new(&authority.client(), &proxy);
    wait_for_clients(&proxy, 1);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    // Longer than a client of which nothing has come is waited for.
    take_time(Duration::from_millis(1200));
    assert!(begun.finish().ends_with("hello"));
}

#[test]
fn they_do_not_make_room_for_newcomers_and_who_has_said_nothing_does() {
    let (proxy, authority) = scene(|config| config.set("limits.max_client_conns", 2));
    let begun = Begun::new(&authority.client(), &proxy);
    wait_for_clients(&proxy, 1);
    let mut silent = proxy.client();
    wait_for_clients(&proxy, 2);
    // From then on they may be closed for others.
    take_time(Duration::from_millis(1200));
    let mut newcomer = authority.client().handshake(proxy.addr(), "a.test").unwrap();
    assert!(newcomer.get("/").ends_with("hello"));
    silent.expect_end();
    assert!(begun.finish().ends_with("hello"));
}
