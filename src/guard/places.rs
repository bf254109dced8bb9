//! The connections of one upstream, counted exactly over all workers in one word, so that a failed attempt to take one changes nothing.
//!
//! Every connection holds a place, also while it is idle. A request whose content is still to come needs one of a half of the
//! places, so that slow senders leave the other half to complete requests. A tunnel holds no place: it is counted separately, from
//! the moment when its request was given the upstream.

use crate::base::sync::{AtomicU64, Ordering::SeqCst};
use std::fmt;

/// What a request needs at an upstream besides a place, and its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Its content is still to come.
    pub is_partial: bool,
    /// It may become a tunnel.
    pub tunnel: bool,
    /// Its client has stopped sending and may have left: clients that surely wait go first.
    pub has_left: bool,
}

impl Needs {
    /// How many different values there are.
    pub const KINDS: usize = 8;

    /// A number for this value, below [`Needs::KINDS`].
    pub fn kind(self) -> usize {
        usize::from(self.is_partial) | usize::from(self.tunnel) << 1 | usize::from(self.has_left) << 2
    }

    /// The value with this number.
    pub fn of(kind: usize) -> Self {
        Self { is_partial: kind & 1 != 0, tunnel: kind & 2 != 0, has_left: kind & 4 != 0 }
    }

    /// Whether a ticket with these needs, which came first, is served before one with those: it needs no more than that.
    pub fn goes_before(self, later: Self) -> bool {
        self.is_partial <= later.is_partial && self.tunnel <= later.tunnel && self.has_left <= later.has_left
    }
}

/// The limits of an upstream. The caller supplies them, because a reload may change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Connections, idle ones included.
    pub connections: usize,
    /// Tunnels, and requests that may become one.
    pub tunnels: usize,
}

impl UpstreamLimits {
    /// How many connections may be used by requests whose content is to come, or whose clients do not take the answer.
    pub fn half(self) -> usize {
        self.connections.div_ceil(2)
    }
}

/// The counts of one upstream.
#[derive(Default)]
pub struct Places(AtomicU64);

/// The parts of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlacesWord {
    taken: u32,
    partial: u32,
    tunnels: u32,
}

impl PlacesWord {
    const BITS: u32 = 21;
    /// More than there can be descriptors.
    const MAX: u64 = (1 << Self::BITS) - 1;

    fn of(bits: u64) -> Self {
        let part = |number: u32| (bits >> (number * Self::BITS) & Self::MAX) as u32;
        Self { taken: part(0), partial: part(1), tunnels: part(2) }
    }

    fn bits(self) -> u64 {
        u64::from(self.taken) | u64::from(self.partial) << Self::BITS | u64::from(self.tunnels) << (2 * Self::BITS)
    }

    fn holds(self, needs: Needs) -> Self {
        Self { partial: self.partial + u32::from(needs.is_partial), tunnels: self.tunnels + u32::from(needs.tunnel), ..self }
    }

    /// The counts with this added, if the limits allow it.
    fn with(self, place: bool, needs: Needs, most: UpstreamLimits) -> Option<Self> {
        let fits = |taken: u32, limit: usize| u64::from(taken) < Self::MAX.min(limit as u64);
        let has_room = (!place || fits(self.taken, most.connections))
            && (!needs.is_partial || fits(self.partial, most.half()))
            && (!needs.tunnel || fits(self.tunnels, most.tunnels));
        has_room.then(|| Self { taken: self.taken + u32::from(place), ..self.holds(needs) })
    }
}

impl Places {
    /// Takes a place and what is needed besides, if there is room for all of it.
    pub fn try_enter(&self, needs: Needs, most: UpstreamLimits) -> bool {
        self.take(true, needs, most)
    }

    /// Takes what is needed besides the place that a kept connection already has, if there is room for it.
    pub fn try_reserve(&self, needs: Needs, most: UpstreamLimits) -> bool {
        (!needs.is_partial && !needs.tunnel) || self.take(false, needs, most)
    }

    fn take(&self, place: bool, needs: Needs, most: UpstreamLimits) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |bits| Some(PlacesWord::of(bits).with(place, needs, most)?.bits())).is_ok()
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.give(PlacesWord { taken: 1, partial: 0, tunnels: 0 });
    }

    /// Gives back what was taken besides a place.
    pub fn give_back(&self, needs: Needs) {
        if needs.is_partial || needs.tunnel {
            self.give(PlacesWord { taken: 0, partial: 0, tunnels: 0 }.holds(needs));
        }
    }

    fn give(&self, part: PlacesWord) {
        let before = PlacesWord::of(self.0.fetch_sub(part.bits(), SeqCst));
        let is_there = before.taken >= part.taken && before.partial >= part.partial && before.tunnels >= part.tunnels;
        debug_assert!(is_there, "{part:?} of {before:?} was given back twice");
    }

    /// Whether there is room for what is needed besides a place.
    pub fn has_room(&self, needs: Needs, most: UpstreamLimits) -> bool {
        PlacesWord::of(self.0.load(SeqCst)).with(false, needs, most).is_some()
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        PlacesWord::of(self.0.load(SeqCst)).taken as usize
    }

    /// How many of them are used by requests whose content is to come.
    pub fn partial(&self) -> usize {
        PlacesWord::of(self.0.load(SeqCst)).partial as usize
    }

    /// Tunnels, and requests that may become one.
    pub fn tunnels(&self) -> usize {
        PlacesWord::of(self.0.load(SeqCst)).tunnels as usize
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PlacesWord::of(self.0.load(SeqCst)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: UpstreamLimits = UpstreamLimits { connections: 3, tunnels: 1 };
    const PARTIAL: Needs = Needs { is_partial: true, tunnel: false, has_left: false };
    const TUNNEL: Needs = Needs { is_partial: false, tunnel: true, has_left: false };

    #[test]
    fn those_whose_content_is_to_come_have_a_half_rounded_up() {
        let places = Places::default();
        assert!(places.try_enter(PARTIAL, MOST) && places.try_enter(PARTIAL, MOST));
        assert!(!places.try_enter(PARTIAL, MOST) && !places.has_room(PARTIAL, MOST));
        assert!(places.try_enter(Needs::default(), MOST) && !places.try_enter(Needs::default(), MOST));
        places.give_back(PARTIAL);
        assert!(places.has_room(PARTIAL, MOST) && !places.try_enter(PARTIAL, MOST), "there is no place");
        assert!(places.try_reserve(PARTIAL, MOST) && !places.try_reserve(PARTIAL, MOST), "it has one already");
        assert_eq!((places.taken(), places.partial(), places.tunnels()), (3, 2, 0));
    }

    #[test]
    fn a_tunnel_leaves_its_place_and_stays_counted() {
        let places = Places::default();
        assert!(places.try_enter(TUNNEL, MOST) && !places.try_enter(TUNNEL, MOST));
        places.leave();
        assert_eq!((places.taken(), places.tunnels()), (0, 1));
        assert!(!places.try_enter(TUNNEL, MOST), "who finds no room for a tunnel takes no place either");
        assert_eq!(places.taken(), 0);
        places.give_back(TUNNEL);
        assert!(places.try_enter(TUNNEL, MOST));
    }

    #[test]
    fn limits_beyond_the_word_are_the_words() {
        let (places, most) = (Places::default(), UpstreamLimits { connections: usize::MAX, tunnels: usize::MAX });
        (0..3).for_each(|_| assert!(places.try_enter(Needs { is_partial: true, tunnel: true, has_left: true }, most)));
        assert_eq!((places.taken(), places.partial(), places.tunnels()), (3, 3, 3));
    }

    #[test]
    fn who_needs_less_goes_first() {
        let all = || (0..Needs::KINDS).map(Needs::of);
        assert!(all().enumerate().all(|(kind, needs)| needs.kind() == kind && needs.goes_before(needs)));
        assert!(all().all(|needs| Needs::default().goes_before(needs)));
        assert!(!PARTIAL.goes_before(Needs::default()) && !PARTIAL.goes_before(TUNNEL) && !TUNNEL.goes_before(PARTIAL));
    }
}
