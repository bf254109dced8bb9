//! Sticky sessions: a cookie that names the server which answered a client, for its next requests.
//!
//! The cookie's value is an HMAC-SHA256 of the server's identity in hex, cut to 128 bits: it tells nobody an address, and is the same
//! after reloads and in other processes with the same key. A value that names no server of the pool is no cookie.

use super::server::Server;
use crate::config::model::{SameSite, SecureCookie, StickyConfig};
use crate::http::cookie;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::Arc;

/// The key for the cookies of pools that have no key of their own: random, one for each process.
pub type Secret = [u8; 32];

/// Random bytes of the system.
pub fn new_secret() -> Secret {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).expect("the system has random numbers");
    secret
}

/// The cookies of a pool.
#[derive(Debug)]
pub struct Sticky {
    name: String,
    /// For each server, the values of `Set-Cookie` for clients that come by plain HTTP and by TLS.
    set: Vec<[String; 2]>,
    /// The index of the server that a cookie's value names.
    servers: HashMap<Vec<u8>, usize>,
}

impl Sticky {
    /// For the servers of the pool with this name.
    pub fn new(config: &StickyConfig, secret: &Secret, pool: &str, servers: &[Arc<Server>]) -> Self {
        let key = config.key.as_ref().map_or(&secret[..], |key| key.as_bytes());
        let tokens: Vec<String> = servers.iter().map(|server| token(key, pool, server)).collect();
        Self {
            name: config.cookie.clone(),
            set: tokens.iter().map(|token| [false, true].map(|is_tls| set_cookie(config, token, is_tls))).collect(),
            servers: tokens.into_iter().map(String::into_bytes).zip(0..).collect(),
        }
    }

    /// The server that a `Cookie` field names.
    pub fn find(&self, field: &[u8]) -> Option<usize> {
        cookie::find(field, self.name.as_bytes()).find_map(|value| self.servers.get(value).copied())
    }

    /// The value of `Set-Cookie` that names that server, for a client that came with this scheme.
    pub fn set_cookie(&self, server: usize, scheme: &str) -> &str {
        &self.set[server][usize::from(scheme == "https")]
    }
}

fn token(key: &[u8], pool: &str, server: &Server) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    let address = server.address.as_ref().map(ToString::to_string).unwrap_or_default();
    for part in [pool, &server.config.name, &address] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 6265 4.1.
fn set_cookie(config: &StickyConfig, token: &str, is_tls: bool) -> String {
    let same_site = match config.same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let age = match config.max_age_ms {
        0 => String::new(),
        ms => format!("; Max-Age={}", ms.div_ceil(1000)),
    };
    let secure = match config.secure {
        SecureCookie::Always => "; Secure",
        SecureCookie::Auto if is_tls => "; Secure",
        _ => "",
    };
    format!("{}={token}; Path=/; HttpOnly; SameSite={same_site}{age}{secure}", config.cookie)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Origin, UpstreamConfig};

    fn server(name: &str, host: &str) -> Arc<Server> {
        let origin = Origin::tcp(host, 80);
        let address = origin.address();
        let config = UpstreamConfig { name: name.into(), origin, weight: 1, is_checked: true, is_backup: false, send_proxy: None };
        Arc::new(Server::new(config, address, 0, 1))
    }

    fn config(key: Option<&str>) -> StickyConfig {
        let key = key.map(str::to_owned);
        StickyConfig { cookie: "tidegate".into(), max_age_ms: 0, secure: SecureCookie::Auto, same_site: SameSite::Lax, key }
    }

    fn value(sticky: &Sticky, server: usize) -> String {
        sticky.set_cookie(server, "http").split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_names_its_server_and_nothing_else_does() {
        let servers = [server("a", "10.0.0.1"), server("b", "10.0.0.2")];
        let sticky = Sticky::new(&config(None), &[1; 32], "default", &servers);
        for index in [0, 1] {
            let cookie = value(&sticky, index);
            assert!(!cookie.contains("10.0") && cookie.len() == "tidegate=".len() + 32, "{cookie}");
            assert_eq!(sticky.find(format!("x=1; {cookie}").as_bytes()), Some(index));
            assert_eq!(sticky.find(format!("tidegate=forged; {cookie}").as_bytes()), Some(index), "an older cookie may stand before it");
        }
        assert_eq!(
            [&b"tidegate=1"[..], b"tidegate=", b"", b"tidegate=0123456789abcdef0123456789abcdef"].map(|f| sticky.find(f)),
            [None; 4]
        );
    }

    #[test]
    fn it_depends_on_the_key_and_on_who_the_server_is_only() {
        let servers = [server("a", "10.0.0.1"), server("b", "10.0.0.2")];
        let of = |key, secret: u8, pool, servers: &[Arc<Server>]| value(&Sticky::new(&config(key), &[secret; 32], pool, servers), 0);
        let shared = of(Some("0123456789abcdef0123456789abcdef"), 1, "default", &servers);
        assert_eq!(shared, of(Some("0123456789abcdef0123456789abcdef"), 2, "default", &servers[..1]), "whatever else there is");
        let others = [
            of(None, 1, "default", &servers),
            of(None, 2, "default", &servers),
            of(None, 1, "another", &servers),
            of(None, 1, "default", &[server("a", "10.0.0.3")]),
            of(None, 1, "default", &[server("c", "10.0.0.1")]),
        ];
        assert!((0..others.len()).all(|i| others[i] != shared && others[i + 1..].iter().all(|other| *other != others[i])), "{others:?}");
    }

    #[test]
    fn its_attributes_are_those_that_are_configured() {
        let settings = StickyConfig { max_age_ms: 1500, same_site: SameSite::Strict, ..config(None) };
        let sticky = Sticky::new(&settings, &[1; 32], "default", &[server("a", "10.0.0.1")]);
        let attributes = ["http", "https"].map(|scheme| sticky.set_cookie(0, scheme).split_once("; ").unwrap().1.to_owned());
        let plain = "Path=/; HttpOnly; SameSite=Strict; Max-Age=2";
        assert_eq!(attributes, [plain.to_owned(), format!("{plain}; Secure")]);
    }
}
