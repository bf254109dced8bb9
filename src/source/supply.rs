//! The content of one answer, while some of it has yet to be produced.

use super::{Produced, Producer};
use crate::base::ring::Ring;
use std::sync::Arc;

/// What there is to produce, and how much of it is left.
#[derive(Debug)]
pub struct Supply {
    stock: Stock,
    /// How many bytes were produced.
    at: usize,
    /// How many are left, if that is known.
    left: Option<u64>,
}

/// Where content lies.
#[derive(Debug)]
pub enum Stock {
    /// In [`Texts::made`].
    Made,
    /// In [`Texts::configured`].
    Configured,
    /// In a page that other clients get too. It is in memory once, however many take it, and however slowly.
    Page(Arc<[u8]>),
    /// With a producer.
    Producer(Box<dyn Producer>),
}

/// Texts that belong to the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// What was written for this answer.
    pub made: &'a [u8],
    /// The text of its route.
    pub configured: &'a [u8],
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more, but no room for it.
    Full,
    /// There will be more, but not now.
    Waiting,
    /// All of it is in the ring.
    Whole,
    /// It ended before the length that was said.
    Short,
}

impl Supply {
    /// Content of which nothing was produced yet.
    pub fn new(stock: Stock, texts: Texts) -> Self {
        let left = match &stock {
            Stock::Made => Some(texts.made.len() as u64),
            Stock::Configured => Some(texts.configured.len() as u64),
            Stock::Page(page) => Some(page.len() as u64),
            Stock::Producer(producer) => producer.length(),
        };
        Self { stock, at: 0, left }
    }

    /// How many bytes are left, if that is known.
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// Puts as much into the ring as there is room for.
    pub fn fill(&mut self, ring: &mut Ring, texts: Texts) -> Progress {
        loop {
            if self.left == Some(0) {
                return Progress::Whole;
            }
            let (room, _) = ring.room_mut();
            if room.is_empty() {
                return Progress::Full;
            }
            let most = self.left.map_or(room.len(), |left| room.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            match self.read(&mut room[..most], texts) {
                Produced::Bytes(n) if n > 0 => {
                    let n = n.min(most);
                    ring.fill(n);
                    self.at += n;
                    self.left = self.left.map(|left| left - n as u64);
                }
                Produced::Bytes(_) | Produced::NotNow => return Progress::Waiting,
                Produced::End if self.left.is_some() => return Progress::Short,
                Produced::End => return Progress::Whole,
            }
        }
    }

    fn read(&mut self, into: &mut [u8], texts: Texts) -> Produced {
        let text = match &mut self.stock {
            Stock::Made => texts.made,
            Stock::Configured => texts.configured,
            Stock::Page(page) => page,
            Stock::Producer(producer) => return producer.read(into),
        };
        let rest = text.get(self.at..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        if n > 0 { Produced::Bytes(n) } else { Produced::End }
    }
}
