//! A hierarchical timer wheel: setting, moving and cancelling a timer are a few stores each, however many timers there are.
//!
//! Level 0 has 64 slots of 1 ms, every level above is 64 times coarser. A timer sits at the level of the highest bit in
//! which its deadline differs from the wheel's time, and moves down as that time comes near. Timers are identified by small
//! integers that the owner chooses (they index a table).

const LEVELS: usize = 6;
const SLOTS: usize = 64;
/// The list of timers that are due and not yet popped.
const DUE: u16 = (LEVELS * SLOTS) as u16;
const NONE: u32 = u32::MAX;
const OFF: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct TimerNode {
    deadline: u64,
    previous: u32,
    next: u32,
    slot: u16,
}

const UNARMED: TimerNode = TimerNode { deadline: 0, previous: NONE, next: NONE, slot: OFF };

/// The timers of one loop. All times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct Wheel {
    now: u64,
    occupied: [u64; LEVELS],
    heads: [u32; LEVELS * SLOTS + 1],
    nodes: Vec<TimerNode>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { now: 0, occupied: [0; LEVELS], heads: [NONE; LEVELS * SLOTS + 1], nodes: Vec::new() }
    }
}

impl Wheel {
    /// Sets the timer of `key`, or moves it. A deadline that has passed is due at the next millisecond.
    pub fn set(&mut self, key: u32, deadline: u64) {
        if key as usize >= self.nodes.len() {
            self.nodes.resize(key as usize + 1, UNARMED);
        }
        self.unlink(key);
        self.nodes[key as usize].deadline = deadline.max(self.now + 1);
        self.place(key);
    }

    /// Cancels the timer of `key`, if it is set.
    pub fn cancel(&mut self, key: u32) {
        if (key as usize) < self.nodes.len() {
            self.unlink(key);
        }
    }

    /// The deadline of `key`, if it is set.
    pub fn deadline(&self, key: u32) -> Option<u64> {
        self.nodes.get(key as usize).filter(|node| node.slot != OFF).map(|node| node.deadline)
    }

    /// When [`Wheel::advance`] has something to do: never later than the earliest deadline.
    pub fn next_wake(&self) -> Option<u64> {
        if self.heads[DUE as usize] != NONE {
            return Some(self.now);
        }
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Moves time forward, and makes due what [`Wheel::pop_due`] then returns.
    pub fn advance(&mut self, now: u64) {
        while let Some((level, slot, start)) = self.next_slot() {
            if start > now {
                break;
            }
            self.now = start;
            let index = level * SLOTS + slot;
            let mut key = std::mem::replace(&mut self.heads[index], NONE);
            self.occupied[level] &= !(1 << slot);
            while key != NONE {
                let next = self.nodes[key as usize].next;
                self.place(key);
                key = next;
            }
        }
        self.now = self.now.max(now);
    }

    /// Takes one timer that is due; it is no longer set then.
    pub fn pop_due(&mut self) -> Option<u32> {
        let key = self.heads[DUE as usize];
        (key != NONE).then(|| {
            self.unlink(key);
            key
        })
    }

    /// The first slot that has timers, and when it begins. Lower levels come before higher ones, because timers of a higher level
    /// are due after the end of the current slot there.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = 6 * level;
        let block = self.now >> shift >> 6 << 6;
        Some((level, slot, (block | slot as u64) << shift))
    }

    fn place(&mut self, key: u32) {
        let deadline = self.nodes[key as usize].deadline;
        let slot = if deadline <= self.now {
            DUE
        } else {
            let level = ((63 - (deadline ^ self.now).leading_zeros() as usize) / 6).min(LEVELS - 1);
            let slot = (deadline >> (6 * level)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            (level * SLOTS + slot) as u16
        };
        let head = std::mem::replace(&mut self.heads[slot as usize], key);
        if head != NONE {
            self.nodes[head as usize].previous = key;
        }
        let node = &mut self.nodes[key as usize];
        (node.previous, node.next, node.slot) = (NONE, head, slot);
    }

    fn unlink(&mut self, key: u32) {
        let TimerNode { previous, next, slot, .. } = self.nodes[key as usize];
        if slot == OFF {
            return;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else {
            self.heads[slot as usize] = next;
            if next == NONE && slot != DUE {
                self.occupied[slot as usize / SLOTS] &= !(1 << (slot as usize % SLOTS));
            }
        }
        self.nodes[key as usize].slot = OFF;
    }
}

/// The earlier of two times that may not come.
pub fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_idle_wheel_never_wakes() {
        let mut wheel = Wheel::default();
        wheel.advance(1_000_000);
        assert_eq!((wheel.next_wake(), wheel.pop_due()), (None, None));
    }

    #[test]
    fn a_far_timer_wakes_the_loop_a_handful_of_times() {
        let mut wheel = Wheel::default();
        wheel.advance(12_345);
        wheel.set(3, 12_345 + 86_400_000);
        let mut wakes = 0;
        while wheel.pop_due().is_none() {
            let wake = wheel.next_wake().unwrap();
            wheel.advance(wake);
            wakes += 1;
        }
        assert!(wakes <= LEVELS, "{wakes} wakes");
        assert_eq!(wheel.now, 12_345 + 86_400_000);
    }

    /// Compared with a sorted map: every timer fires once, never early, and not later than the advance that passes it.
    #[test]
    fn agrees_with_a_sorted_map_under_random_operations() {
        let mut rng = fastrand::Rng::with_seed(42);
        let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), 0);
        for _ in 0..200_000 {
            let key = rng.u32(0..50);
            match rng.u8(0..4) {
                0 | 1 => {
                    let deadline = now + (1u64 << rng.u32(0..28)) + rng.u64(0..100);
                    wheel.set(key, deadline);
                    model.insert(key, deadline);
                }
                2 => {
                    wheel.cancel(key);
                    model.remove(&key);
                }
                _ => {
                    let earliest = model.values().min().copied();
                    assert!(wheel.next_wake().is_none_or(|wake| Some(wake) <= earliest));
                    assert_eq!(wheel.next_wake().is_none(), earliest.is_none());
                    now += 1u64 << rng.u32(0..20);
                    wheel.advance(now);
                    while let Some(key) = wheel.pop_due() {
                        assert!(model.remove(&key).unwrap() <= now);
                    }
                    assert!(model.values().all(|&deadline| deadline > now));
                }
            }
        }
    }
}
