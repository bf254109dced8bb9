//! Connections that are not served: who idles gives way to newcomers, the longest first; who lingers holds no place, and the
//! longest goes for the next. Each worker keeps its own in lists and shows the first of each at the door.

use super::core::{Core, Net};
use super::shared::Mail;
use crate::base::ranks::Rank;
use crate::guard::client::ClientId;
use crate::guard::door::{Door, Rest};
use crate::net::link::Transfer;
use crate::session::Event;
use std::sync::Arc;

/// Who has idled for less may be about to ask.
const LEAST_IDLE_MS: u64 = 1_000;
/// Reads of what has come to a connection that lingered for long enough: what is left unread resets it.
const LAST_READS: usize = 4;

/// A door, as one worker sees it.
pub(super) struct Side {
    door: Arc<Door>,
    is_admin: bool,
    /// Connections of this worker that came through it.
    clients: usize,
    rests: [Rank; 2],
}

/// What was done for a newcomer for whom there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There may be some now.
    Made,
    /// Another worker makes some, and wakes who waits.
    Asked,
    /// Then somebody has idled for long enough (milliseconds).
    At(u64),
    /// Nobody idles.
    None,
}

impl<N: Net> Core<N> {
    /// The side of a door, made for its first connection; one more is there.
    pub(super) fn enter_side(&mut self, door: &Arc<Door>, is_admin: bool) -> usize {
        let side = self
            .side(door)
            .unwrap_or_else(|| self.sides.insert(Side { door: door.clone(), is_admin, clients: 0, rests: Default::default() }));
        self.sides[side].clients += 1;
        side
    }

    /// A connection of that side is closed; the last one takes the side along.
    pub(super) fn leave_side(&mut self, side: usize) {
        self.sides[side].clients -= 1;
        if self.sides[side].clients == 0 {
            self.sides.remove(side);
        }
    }

    fn side(&self, door: &Arc<Door>) -> Option<usize> {
        self.sides.iter().find(|(_, side)| Arc::ptr_eq(&side.door, door)).map(|(side, _)| side)
    }

    /// After a pump: it idles, lingers or neither.
    pub(super) fn note_rest(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.rest == Some(Rest::Lingering) {
            return;
        }
        if !client.standing.has_place || client.session.has_had_its_last() {
            return self.linger(key);
        }
        let since = client.session.idle_since();
        if since != self.ranks.since(key) {
            self.set_rest(key, since.map(|since| (Rest::Idle, since)));
        }
    }

    /// Puts it into another list, or into none.
    pub(super) fn set_rest(&mut self, key: usize, rest: Option<(Rest, u64)>) {
        let Self { clients, sides, ranks, turn, .. } = self;
        let (client, worker) = (&mut clients[key], turn.worker);
        let Side { door, rests, .. } = &mut sides[client.side];
        if let Some(old) = std::mem::replace(&mut client.rest, rest.map(|(rest, _)| rest)) {
            let was_first = ranks.first(&rests[old as usize]).is_some_and(|(first, _)| first == key);
            ranks.leave(&mut rests[old as usize], key);
            if was_first {
                door.set_first(worker, old, ranks.first(&rests[old as usize]).map(|(_, since)| since));
            }
        }
        if let Some((new, since)) = rest {
            let is_first = ranks.first(&rests[new as usize]).is_none();
            ranks.join(&mut rests[new as usize], key, since);
            if is_first {
                door.set_first(worker, new, Some(since));
            }
        }
    }

    /// It has had its last answer: its place is for others, and it counts for its client no more. Where too many linger, the
    /// longest goes.
    fn linger(&mut self, key: usize) {
        let now = self.turn.now.millis();
        self.set_rest(key, Some((Rest::Lingering, now)));
        let client = &mut self.clients[key];
        let (door, ip) = (client.entrance.door.clone(), client.session.client().ip());
        if std::mem::take(&mut client.standing.is_counted) {
            self.shared.connections.leave(ClientId::of(ip));
        }
        if std::mem::take(&mut client.standing.has_place) {
            client.standing.lingers = true;
            door.begin_lingering();
            door.leave();
            self.shared.resume(&door.paused);
        }
        if let Some((worker, _)) = door.longest(Rest::Lingering).filter(|_| door.is_crowded()) {
            self.dismiss_at(worker, door, false);
        }
    }

    /// Closes the connection that lingers longest at that door, here or at another worker.
    fn dismiss_at(&mut self, worker: usize, door: Arc<Door>, starved: bool) -> Room {
        if worker != self.turn.worker {
            self.shared.mailboxes[worker].post(Mail::Dismiss { door, starved });
            return Room::Asked;
        }
        if self.dismiss(&door) { Room::Made } else { Room::None }
    }

    /// Another worker saw that somebody lingers here. Where it waits for a descriptor it tries again whatever comes of it.
    pub(super) fn on_dismiss(&mut self, door: &Arc<Door>, starved: bool) {
        let is_needed = starved || door.is_crowded();
        if !(is_needed && self.dismiss(door)) && starved {
            self.shared.resume(&self.shared.starved);
        }
    }

    /// Closes the connection of this worker that lingers longest at that door. What has come is read, for unread bytes would turn
    /// the close into a reset, which may overtake the answer.
    fn dismiss(&mut self, door: &Arc<Door>) -> bool {
        let longest = self.side(door).and_then(|side| self.ranks.first(&self.sides[side].rests[Rest::Lingering as usize]));
        let Some((key, _)) = longest else { return false };
        let client = &mut self.clients[key];
        let is_public = !client.entrance.is_admin;
        for _ in 0..LAST_READS {
            let Transfer::Bytes(n) = client.link.read(&mut self.scratch) else { break };
            if is_public {
                self.turn.stats.bytes_received.add(n as u64);
            }
        }
        self.deliver(key, Event::Evicted);
        self.close_client(key);
        true
    }

    /// Who has been in that list longest, as far as is known: at that door, or, for a descriptor, at any.
    fn longest(&self, rest: Rest, door: &Arc<Door>, at_any: bool) -> Option<(usize, u64, Arc<Door>)> {
        let others = self.sides.iter().filter(|(_, side)| at_any && !side.is_admin).map(|(_, side)| &side.door);
        let longest = others.chain([door]).filter_map(|door| Some((door.longest(rest)?, door)));
        longest.min_by_key(|((_, since), _)| *since).map(|((worker, since), door)| (worker, since, door.clone()))
    }

    /// Makes room for somebody who came through that door: at its limit, or, `starved`, where there is no descriptor left. Those who
    /// linger have descriptors too, and go before those who idle.
    pub fn make_room(&mut self, door: &Arc<Door>, starved: bool) -> Room {
        let lingering = if starved { self.longest(Rest::Lingering, door, true) } else { None };
        if let Some((worker, _, door)) = lingering {
            let room = self.dismiss_at(worker, door, true);
            self.free_closing();
            return room;
        }
        let now = self.turn.now.millis();
        loop {
            let Some((worker, since, door)) = self.longest(Rest::Idle, door, starved) else { return Room::None };
            if since + LEAST_IDLE_MS > now {
                return Room::At(since + LEAST_IDLE_MS);
            }
            if worker != self.turn.worker {
                self.shared.mailboxes[worker].post(Mail::Evict { door, since, starved });
                return Room::Asked;
            }
            if self.evict(&door, since) {
                return Room::Made;
            }
        }
    }

    /// Another worker needs a place, or a descriptor, and saw that somebody idles here since then. It tries again whatever comes
    /// of it, so a second letter about the same connection is for nobody: those who came to rest later stay.
    pub(super) fn on_evict(&mut self, door: &Arc<Door>, since: u64, starved: bool) {
        let is_needed = starved || door.is_full();
        if !is_needed || !self.evict(door, since) {
            self.shared.resume(if starved { &self.shared.starved } else { &door.paused });
        }
    }

    /// Closes the connection of this worker that has idled longest at that door, if that is long enough, and not
    /// only since after `latest`. Whoever turns out to have sent something is served.
    fn evict(&mut self, door: &Arc<Door>, latest: u64) -> bool {
        let latest = latest.min(self.turn.now.millis().saturating_sub(LEAST_IDLE_MS));
        while let Some(side) = self.side(door) {
            let Some((key, since)) = self.ranks.first(&self.sides[side].rests[Rest::Idle as usize]) else { break };
            if since > latest {
                break;
            }
            self.clients[key].link.ready.readable = true;
            self.pump(key);
            if self.clients[key].is_closing {
                self.free_closing();
                return true;
            }
            if self.ranks.since(key) != Some(since) {
                continue;
            }
            self.deliver(key, Event::Evicted);
            if self.clients[key].session.ending().is_some() {
                door.count_evicted();
                self.free_client(key);
                return true;
            }
            self.set_rest(key, None);
        }
        false
    }
}
