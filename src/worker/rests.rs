//! Connections that are not being served. Idle ones are closed for new connections, the longest idle first; lingering ones hold no
//! place, and the longest is closed for the next. Each worker has lists of its own, and publishes the first of each.

use super::core::{Core, Net};
use super::shared::Mail;
use super::side::Side;
use crate::guard::door::{Door, Rest};
use crate::net::transport::{Transfer, Transport};
use crate::session::Event;
use std::sync::Arc;

/// A connection that has been idle for less may be about to send a request.
const LEAST_IDLE_MS: u64 = 1_000;
/// How many reads are made before a lingering connection is closed: bytes that are left unread reset it.
const LAST_READS: usize = 4;

/// What was done for a new connection for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There may be room now.
    Made,
    /// Another worker was asked to make room, and will wake those who wait.
    Asked,
    /// A connection will have been idle for long enough at this time (milliseconds).
    At(u64),
    /// No connection is idle.
    None,
}

impl<N: Net> Core<N> {
    /// This worker's view of a listening address, made for its first connection; counts one more connection.
    pub(super) fn enter_side(&mut self, door: &Arc<Door>, is_reserved: bool) -> usize {
        let side = self
            .side(door)
            .unwrap_or_else(|| self.sides.insert(Side { door: door.clone(), is_reserved, clients: 0, rests: Default::default() }));
        self.sides[side].clients += 1;
        side
    }

    /// A connection is closed; with the last one the view is removed.
    pub(super) fn leave_side(&mut self, side: usize) {
        self.sides[side].clients -= 1;
        if self.sides[side].clients == 0 {
            self.sides.remove(side);
        }
    }

    fn side(&self, door: &Arc<Door>) -> Option<usize> {
        self.sides.iter().find(|(_, side)| Arc::ptr_eq(&side.door, door)).map(|(side, _)| side)
    }

    /// After a pump: notes whether it is idle, lingers or neither.
    #[inline]
    pub(super) fn note_rest(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.rest == Some(Rest::Lingering) {
            return;
        }
        if !client.standing.stay.has_place() || client.front.has_had_its_last() || client.takes_leave {
            return self.linger(key);
        }
        // One that is busy stays where it is, and moves to the end when it is idle again: who closes idle ones looks.
        let since = client.front.idle_since();
        if since.is_some() && since != self.ranks.since(key) {
            self.set_rest(key, since.map(|since| (Rest::Idle, since)));
        }
    }

    /// Moves it to another list, or out of all lists.
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

    /// It has had its last answer: it gives up its place, and no longer counts for its client. Where too many linger, the longest is
    /// closed.
    fn linger(&mut self, key: usize) {
        let now = self.turn.now.millis();
        self.set_rest(key, Some((Rest::Lingering, now)));
        let client = &mut self.clients[key];
        let door = client.entrance.door.clone();
        client.standing.counted = None;
        if client.standing.stay.has_place() {
            client.standing.stay.linger();
            self.shared.resume(&door.paused);
        }
        if let Some((worker, _)) = door.longest(Rest::Lingering).filter(|_| door.is_crowded()) {
            self.dismiss_at(worker, door, false);
        }
    }

    /// Closes the connection that lingers longest at that address, in this worker or another.
    fn dismiss_at(&mut self, worker: usize, door: Arc<Door>, starved: bool) -> Room {
        if worker != self.turn.worker {
            self.shared.mailboxes[worker].post(Mail::Dismiss { door, starved });
            return Room::Asked;
        }
        if self.dismiss(&door) { Room::Made } else { Room::None }
    }

    /// Another worker saw that a connection lingers here. If that worker needs a descriptor, it tries again whatever the result.
    pub(super) fn on_dismiss(&mut self, door: &Arc<Door>, starved: bool) {
        let is_needed = starved || door.is_crowded();
        if !(is_needed && self.dismiss(door)) && starved {
            self.shared.resume(&self.shared.starved);
        }
    }

    /// Closes the connection of this worker that has lingered longest at that address. What has come is read first, because unread
    /// bytes would turn the close into a reset, which may overtake the answer.
    fn dismiss(&mut self, door: &Arc<Door>) -> bool {
        let longest = self.side(door).and_then(|side| self.ranks.first(&self.sides[side].rests[Rest::Lingering as usize]));
        let Some((key, _)) = longest else { return false };
        let client = &mut self.clients[key];
        for _ in 0..LAST_READS {
            // A read would go on with the handshake, for nothing.
            if client.link.is_opening() {
                break;
            }
            match client.link.read(&mut self.scratch) {
                Transfer::Bytes(n) => client.entrance.service.stats.bytes_received.add(n as u64),
                Transfer::Beside(_) => {}
                Transfer::Blocked | Transfer::Fin | Transfer::Failed => break,
            }
        }
        self.deliver(key, Event::SentAway);
        self.drop_client(key);
        true
    }

    /// Which connection has been in that state longest, as far as is known: at that address or, if `at_any`, at any.
    fn longest(&self, rest: Rest, door: &Arc<Door>, at_any: bool) -> Option<(usize, u64, Arc<Door>)> {
        let others = self.sides.iter().filter(|(_, side)| at_any && !side.is_reserved).map(|(_, side)| &side.door);
        let longest = others.chain([door]).filter_map(|door| Some((door.longest(rest)?, door)));
        longest.min_by_key(|((_, since), _)| *since).map(|((worker, since), door)| (worker, since, door.clone()))
    }

    /// Makes room for a new connection at that address: at its limit or, if `starved`, where no descriptor is left. Lingering
    /// connections have descriptors too, and are closed before idle ones.
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

    /// Another worker needs a place or descriptor, and saw that a connection here has been idle since `since`. It tries again whatever
    /// the result, so a second message about that connection must not close one that became idle later.
    pub(super) fn on_evict(&mut self, door: &Arc<Door>, since: u64, starved: bool) {
        let is_needed = starved || door.is_full();
        if !is_needed || !self.evict(door, since) {
            self.shared.resume(if starved { &self.shared.starved } else { &door.paused });
        }
    }

    /// Closes the connection of this worker that has been idle longest at that address, if that is long enough and it became idle no
    /// later than `latest`. One that turns out to have sent something is served.
    fn evict(&mut self, door: &Arc<Door>, latest: u64) -> bool {
        let latest = latest.min(self.turn.now.millis().saturating_sub(LEAST_IDLE_MS));
        while let Some(side) = self.side(door) {
            let Some((key, since)) = self.ranks.first(&self.sides[side].rests[Rest::Idle as usize]) else { break };
            let idle_since = self.clients[key].front.idle_since();
            if idle_since != Some(since) {
                self.set_rest(key, idle_since.map(|since| (Rest::Idle, since)));
                continue;
            }
            if since > latest {
                break;
            }
            let link = &self.clients[key].link;
            if link.is_shaking() || link.has_unsent() {
                // It is busy. What ends that brings it back here.
                self.set_rest(key, None);
                continue;
            }
            if !link.is_opening() {
                self.clients[key].link.look_again();
                self.pump(key);
            }
            if self.clients[key].is_closing {
                self.free_closing();
                return true;
            }
            if self.clients[key].front.idle_since() != Some(since) {
                continue;
            }
            self.deliver(key, Event::Evicted);
            if self.clients[key].front.ending().is_some() {
                door.count_evicted();
                self.free_client(key);
                return true;
            }
            self.set_rest(key, None);
        }
        false
    }
}
