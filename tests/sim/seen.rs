//! How often the things that a world is made for have really happened: a run in which one never did has shown nothing about it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! seen {
    ($($name:ident),* $(,)?) => {
        /// See the module.
        #[derive(Clone, Copy, Debug)]
        pub enum Seen {
            $($name),*
        }

        const ALL: &[Seen] = &[$(Seen::$name),*];
    };
}

seen!(
    TunnelOpened,
    TunnelWhole,
    TunnelRefused,
    ReloadTaken,
    WorkersOnTwoSites,
    ServerGoneWithConnections,
    LineOfAFormerPool,
    AddressMoved,
    AnsweredByHost,
    AnsweredByMethod,
    SecondPool,
    PageRendered,
    PageOfOneGone,
    RateLimited,
    ClientOverItsLimit,
    CheckPassed,
    CheckFailed,
    CircuitOpen,
    CircuitHalfOpen,
    InLine,
    InLineAtRest,
    StarvedAtRest,
    Retried,
    TurnsInterleaved,
    Drained,
    HostileBesideWellOrigins,
);

static COUNTS: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

/// It happened.
pub fn note(what: Seen) {
    COUNTS[what as usize].fetch_add(1, Relaxed);
}

/// All of it, for people.
pub fn describe() -> String {
    ALL.iter().map(|&what| format!("{what:?} {}", COUNTS[what as usize].load(Relaxed))).collect::<Vec<_>>().join(", ")
}

/// What never happened.
pub fn missing() -> Vec<Seen> {
    ALL.iter().copied().filter(|&what| COUNTS[what as usize].load(Relaxed) == 0).collect()
}
