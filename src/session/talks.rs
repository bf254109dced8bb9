//! The exchanges of a worker, each with what it has of an upstream.

use crate::admin::RenderedPage;
use crate::back;
use crate::base::address::Peer;
use crate::base::pool::BufferPool;
use crate::base::slots::Slots;
use crate::exchange::Exchange;
use crate::guard::places::Needs;
use crate::http::request::Request;
use crate::machine::Turn;
use crate::machine::failure::Failure;
use crate::upstream::pool::{Grant, Pool};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// How many are stored for use again.
const MAX_FREE: usize = 256;

/// An exchange with the machine that speaks to its upstream.
#[derive(Debug)]
pub struct Talk {
    /// The exchange.
    pub exchange: Exchange,
    /// What is known of its answer.
    pub back: back::h1::BackH1,
    /// The key of its client.
    pub client: usize,
    /// The key of its upstream connection.
    pub upstream: Option<usize>,
    /// Its position in a queue.
    pub stand: Option<Stand>,
    /// What it was granted when its turn came.
    pub grant: Option<Grant>,
    /// The page that was rendered for it.
    pub page: Option<Box<RenderedPage>>,
}

impl Talk {
    /// A request has come: the exchange decides who answers it. `is_late`: its client connected after the process began to drain.
    #[inline]
    pub fn open(&mut self, request: &Request, is_late: bool, turn: &Turn) -> Result<(), Failure> {
        self.exchange.open(request, is_late, &mut self.back, turn)
    }
}

/// A position in the queue of a pool.
#[derive(Debug)]
pub struct Stand {
    /// The pool.
    pub pool: Arc<Pool>,
    /// The number of the wait, by which its ticket is known.
    pub serial: u64,
    /// What the request needs.
    pub needs: Needs,
    /// Whether there was no descriptor for it.
    pub starves: bool,
}

/// The exchanges of a worker, by key. Storage is used again, so that nothing is allocated for a request.
#[derive(Debug, Default)]
pub struct Talks {
    slots: Slots<Box<Talk>>,
    free: Vec<Box<Talk>>,
}

impl Talks {
    /// Begins an exchange; returns its key.
    pub fn begin(&mut self, client: usize, peer: Peer, has_half_closed: bool, turn: &mut Turn) -> usize {
        let mut talk = self.free.pop().unwrap_or_else(|| {
            let exchange = Exchange::new(turn.site.clone());
            Box::new(Talk { exchange, back: Default::default(), client, upstream: None, stand: None, grant: None, page: None })
        });
        talk.client = client;
        talk.exchange.begin(peer, has_half_closed, turn);
        self.slots.insert(talk)
    }

    /// Removes an exchange that is over, with all that it still has. Its key is reused after [`Talks::reuse`] only.
    pub fn end(&mut self, key: usize, buffers: &mut BufferPool) {
        let mut talk = self.slots.remove(key);
        debug_assert!(talk.upstream.is_none() && talk.stand.is_none());
        talk.exchange.clear(buffers);
        if self.free.len() < MAX_FREE {
            self.free.push(talk);
        }
    }

    /// Lets keys be used again; nothing may be pending for those that were removed.
    pub fn reuse(&mut self) {
        self.slots.reuse();
    }

    /// Drops stored ones, which refer to an earlier site.
    pub fn forget_stored(&mut self) {
        self.free.clear();
    }

    /// The exchange, if it exists.
    pub fn get(&self, key: usize) -> Option<&Talk> {
        self.slots.get(key).map(|talk| &**talk)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Talk> {
        self.slots.get_mut(key).map(|talk| &mut **talk)
    }

    /// All exchanges with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Talk)> {
        self.slots.iter().map(|(key, talk)| (key, &**talk))
    }

    /// The keys that no exchange has.
    pub fn vacant(&self) -> impl Iterator<Item = usize> {
        self.slots.vacant()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Index<usize> for Talks {
    type Output = Talk;

    fn index(&self, key: usize) -> &Talk {
        &self.slots[key]
    }
}

impl IndexMut<usize> for Talks {
    fn index_mut(&mut self, key: usize) -> &mut Talk {
        &mut self.slots[key]
    }
}
