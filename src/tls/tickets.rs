//! Tickets for sessions (RFC 5077; RFC 8446, section 4.6.1): what a client keeps, so that its next connection, to whatever worker,
//! needs neither a certificate nor a signature.
//!
//! The keys are the process's: every listening address uses them, and they outlive a reload. A key seals for six hours and opens for
//! twelve. Addresses that ask for clients' certificates give and take no tickets.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use std::sync::{LazyLock, RwLock};
use std::time::{Duration, Instant};

/// How long a key seals; after that it only opens, as long again.
const KEY_LIFE: Duration = Duration::from_secs(6 * 3600);
/// A key's name begins each ticket that it has sealed.
const NAME_BYTES: usize = 16;

static KEYS: LazyLock<RwLock<Keys>> = LazyLock::new(|| RwLock::new(Keys::new(Instant::now())));

/// The tickets of an address.
#[derive(Debug)]
pub(super) struct Tickets;

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// In seconds. The key of a ticket lives at least as long.
    fn lifetime(&self) -> u32 {
        KEY_LIFE.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = Instant::now();
        let is_old = KEYS.read().ok()?.is_old(now);
        if is_old {
            KEYS.write().ok()?.rotate(now);
        }
        KEYS.read().ok()?.sealing.as_ref()?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        KEYS.read().ok()?.open(cipher, Instant::now())
    }
}

struct Keys {
    /// Without random bytes from the system there is none, and no ticket.
    sealing: Option<TicketKey>,
    since: Instant,
    former: Option<TicketKey>,
}

impl Keys {
    fn new(now: Instant) -> Self {
        Self { sealing: TicketKey::new(), since: now, former: None }
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEY_LIFE
    }

    /// Two threads may find the key old: the second changes nothing.
    fn rotate(&mut self, now: Instant) {
        if self.is_old(now) {
            let is_former_over = now.saturating_duration_since(self.since) >= 2 * KEY_LIFE;
            let former = std::mem::replace(&mut self.sealing, TicketKey::new()).filter(|_| !is_former_over);
            (self.since, self.former) = (now, former);
        }
    }

    fn open(&self, cipher: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (name, sealed) = cipher.split_at_checked(NAME_BYTES)?;
        let age = now.saturating_duration_since(self.since);
        let sealing = self.sealing.as_ref().filter(|_| age < 2 * KEY_LIFE);
        let former = self.former.as_ref().filter(|_| age < KEY_LIFE);
        sealing.into_iter().chain(former).find(|key| key.name == name)?.open(sealed)
    }
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

impl TicketKey {
    fn new() -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; 32]);
        getrandom::fill(&mut name).and_then(|()| getrandom::fill(&mut secret)).ok()?;
        Some(Self { name, key: RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()? })
    }

    /// The key's name, the nonce, and what is sealed.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.open_in_place(nonce, Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_only_whole() {
        let ticket = Tickets.encrypt(b"a session").unwrap();
        assert_eq!(Tickets.decrypt(&ticket).as_deref(), Some(&b"a session"[..]), "by any worker, and after a reload");
        assert_ne!(Tickets.encrypt(b"a session").unwrap(), ticket, "no two are alike");
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!((Tickets.decrypt(&forged), Tickets.decrypt(&ticket[..at])), (None, None), "{at}");
        }
    }

    #[test]
    fn a_key_seals_for_its_life_and_opens_for_another() {
        let begin = Instant::now();
        let mut keys = Keys::new(begin);
        let seal = |keys: &Keys| keys.sealing.as_ref().unwrap().seal(b"x").unwrap();
        let ticket = seal(&keys);
        let later = |hours: u64| begin + Duration::from_secs(hours * 3600);
        keys.rotate(later(5));
        assert_eq!(seal(&keys)[..NAME_BYTES], ticket[..NAME_BYTES]);
        keys.rotate(later(6));
        keys.rotate(later(6));
        assert_ne!(seal(&keys)[..NAME_BYTES], ticket[..NAME_BYTES]);
        assert_eq!([6, 11, 12].map(|hours| keys.open(&ticket, later(hours)).is_some()), [true, true, false]);
        let ticket = seal(&keys);
        assert_eq!([12, 17, 18].map(|hours| keys.open(&ticket, later(hours)).is_some()), [true, true, false], "unused for long");
        keys.rotate(later(100));
        assert!(keys.former.is_none());
    }
}
