//! Counts how often the things that a world is made for have happened: a run without one of them has tested nothing about it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! seen {
    ($($name:ident),* $(,)?) => {
        /// Things that a run must contain.
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
    OriginGaveUp,
    StrayBeforeRequest,
    Delivered,
    DeliveredToOneThatSends,
    GreedyBesideOthers,
    HeldBack,
    ReadWaitsForWrite,
    MurmurOnIdle,
    LeaveTakenLate,
    CutOff,
    CutAnswer,
    NeverGreeted,
    PeerKnownLate,
    PeerKnownLateOverItsLimit,
    HeaderTaken,
    Announced,
    SeveralAtOnce,
    StreamWhole,
    StreamGivenUp,
    StreamCut,
    SilentAddress,
    BusyAddress,
    CuttingAddress,
);

static COUNTS: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

/// Counts one.
pub fn note(what: Seen) {
    COUNTS[what as usize].fetch_add(1, Relaxed);
}

/// All counts as text.
pub fn describe() -> String {
    ALL.iter().map(|&what| format!("{what:?} {}", COUNTS[what as usize].load(Relaxed))).collect::<Vec<_>>().join(", ")
}

/// Those that never happened.
pub fn missing() -> Vec<Seen> {
    ALL.iter().copied().filter(|&what| COUNTS[what as usize].load(Relaxed) == 0).collect()
}
