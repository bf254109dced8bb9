//! Sticky sessions: a cookie that names the server which answered a client, for its next requests.
//!
//! The cookie's value is a token, or several with dots between them: one for each pool that has set a cookie with this name for this
//! client. A token is an HMAC-SHA256 of the server's identity in hex, cut to 128 bits of which the first are the pool's: it tells nobody an
//! address, and is the same after reloads and in other processes with the same key. A token that names no server of the pool is none.

use super::server::Server;
use crate::config::model::{SameSite, SecureCookie, StickyConfig};
use crate::http::cookie;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The hex digits of a token, and how many of them tell its pool.
const TOKEN: usize = 32;
const POOL_PART: usize = 6;
/// How many tokens of other pools are kept.
const MAX_OTHERS: usize = 7;

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
    /// The beginning of all tokens of the pool.
    pool_part: String,
    /// For each server, the values of `Set-Cookie` for clients that come by plain HTTP and by TLS.
    set: Vec<[String; 2]>,
    /// The index of the server that a cookie's value names.
    servers: HashMap<Vec<u8>, usize>,
}

impl Sticky {
    /// For the servers of the pool with this name.
    pub fn new(config: &StickyConfig, secret: &Secret, pool: &str, servers: &[Arc<Server>]) -> Self {
        let key = config.key.as_ref().map_or(&secret[..], |key| key.as_bytes());
        let pool_part = hex(key, &[pool])[..POOL_PART].to_owned();
        let tokens: Vec<String> = servers.iter().map(|server| token(key, pool, &pool_part, server)).collect();
        Self {
            name: config.cookie.clone(),
            pool_part,
            set: tokens.iter().map(|token| [false, true].map(|is_tls| set_cookie(config, token, is_tls))).collect(),
            servers: tokens.into_iter().map(String::into_bytes).zip(0..).collect(),
        }
    }

    /// The server that a `Cookie` field names.
    pub fn find(&self, field: &[u8]) -> Option<usize> {
        self.tokens(field).find_map(|token| self.servers.get(token).copied())
    }

    /// Appends the tokens of other pools in a `Cookie` field, each after a dot, for when this pool sets the cookie anew.
    pub fn keep_others(&self, field: &[u8], kept: &mut Vec<u8>) {
        for token in self.tokens(field) {
            let is_token = token.len() == TOKEN && token.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let has_room = kept.len() < MAX_OTHERS * (TOKEN + 1);
            if is_token
                && has_room
                && !token.starts_with(self.pool_part.as_bytes())
                && !kept.chunks(TOKEN + 1).any(|other| other[1..] == *token)
            {
                kept.push(b'.');
                kept.extend_from_slice(token);
            }
        }
    }

    fn tokens<'a>(&'a self, field: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        cookie::find(field, self.name.as_bytes()).flat_map(|value| value.split(|&b| b == b'.'))
    }

    /// The value of `Set-Cookie` that names that server, for a client that came with this scheme; and these tokens of other pools.
    pub fn set_cookie(&self, server: usize, scheme: &str, kept: &[u8]) -> Cow<'_, str> {
        let set = &self.set[server][usize::from(scheme == "https")];
        match std::str::from_utf8(kept) {
            Ok(kept) if !kept.is_empty() => {
                let (own, attributes) = set.split_at(self.name.len() + "=".len() + TOKEN);
                [own, kept, attributes].concat().into()
            }
            _ => set.into(),
        }
    }
}

fn token(key: &[u8], pool: &str, pool_part: &str, server: &Server) -> String {
    let address = server.address.as_ref().map(ToString::to_string).unwrap_or_default();
    let own = hex(key, &[pool, &server.config.name, &address]);
    format!("{pool_part}{}", &own[..TOKEN - POOL_PART])
}

fn hex(key: &[u8], parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
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
        sticky.set_cookie(server, "http", b"").split(';').next().unwrap().to_owned()
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
    fn pools_with_one_cookie_keep_each_others_tokens() {
        let servers = [server("a", "10.0.0.1"), server("b", "10.0.0.2")];
        let of = |pool| Sticky::new(&config(None), &[1; 32], pool, &servers);
        let (one, other) = (of("one"), of("other"));
        let with = |sticky: &Sticky, server, cookie: &str| {
            let mut kept = Vec::new();
            sticky.keep_others(cookie.as_bytes(), &mut kept);
            sticky.set_cookie(server, "http", &kept).split(';').next().unwrap().to_owned()
        };
        let both = with(&other, 1, &value(&one, 0));
        assert_eq!((one.find(both.as_bytes()), other.find(both.as_bytes())), (Some(0), Some(1)));
        let moved = with(&one, 1, &both);
        assert_eq!((one.find(moved.as_bytes()), other.find(moved.as_bytes()), moved.len()), (Some(1), Some(1), both.len()));
        // Whatever a client sends, it gets no more back than so many tokens.
        let many: Vec<String> = (0..50).map(|n| format!("{n:032x}")).chain(["x\r\ny".into(), "0".repeat(31)]).collect();
        let most = with(&one, 0, &format!("tidegate={}; tidegate={}", many.join("."), many[0]));
        assert_eq!(most.matches('.').count(), MAX_OTHERS);
        assert!(most["tidegate=".len()..].bytes().all(|b| b.is_ascii_hexdigit() || b == b'.'), "{most}");
    }

    #[test]
    fn its_attributes_are_those_that_are_configured() {
        let settings = StickyConfig { max_age_ms: 1500, same_site: SameSite::Strict, ..config(None) };
        let sticky = Sticky::new(&settings, &[1; 32], "default", &[server("a", "10.0.0.1")]);
        let attributes = ["http", "https"].map(|scheme| sticky.set_cookie(0, scheme, b"").split_once("; ").unwrap().1.to_owned());
        let plain = "Path=/; HttpOnly; SameSite=Strict; Max-Age=2";
        assert_eq!(attributes, [plain.to_owned(), format!("{plain}; Secure")]);
    }
}
