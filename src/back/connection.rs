//! A connection that has been made, between its first exchange and its end: who uses it, and how long it is kept while nobody does.

use super::carried::Carried;

/// How long a connection rests after an answer without content (microseconds). An upstream that wrongly sends content all the
/// same does so in this time; later, it would be taken for the answer to the next request.
const REST_MICROS: u64 = 5000;

/// Who uses a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum BackConnection {
    /// Exchanges.
    Serving {
        /// Which ones.
        exchanges: Carried,
        /// Whether it has to rest before it serves again.
        must_rest: bool,
    },
    /// Nobody: it may be reused or closed.
    Idle(IdleSpan),
    /// It is reserved for an exchange whose turn in the queue has come, and which has not been told yet.
    Promised,
}

/// The time for which a connection is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleSpan {
    /// When it ends (milliseconds).
    pub until: u64,
    next_use: NextUse,
    /// The number of the turn in which it began.
    began_in: u64,
}

/// When an idle connection may serve again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextUse {
    AtOnce,
    /// After a rest, which begins at the end of the turn.
    AfterRest,
    /// From this time on (microseconds).
    From(u64),
}

/// How far what the poll has told of a connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing can have come that the poll has not told.
    Sure,
    /// Something may have come since.
    Unsure,
}

/// What is left of the users of a connection when one of them has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersLeft {
    /// Other exchanges use it.
    Some,
    /// Nobody does: it is to be parked, promised or closed.
    None {
        /// Whether it has to rest before it serves again.
        must_rest: bool,
    },
}

/// What a deadline means for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackDeadline {
    /// Nothing: it is in use, and the timer was set when it last became idle.
    Moot,
    /// It has become idle again since: the time at which this span ends (milliseconds).
    Later(u64),
    /// It has been idle for as long as it may.
    Over,
}

impl BackConnection {
    /// A new connection, which these exchanges have waited for.
    pub fn new(exchanges: Carried) -> Self {
        Self::Serving { exchanges, must_rest: false }
    }

    /// The exchanges that use it.
    pub fn exchanges(&self) -> Option<&Carried> {
        if let Self::Serving { exchanges, .. } = self { Some(exchanges) } else { None }
    }

    /// An answer had no content: once nobody uses the connection, it rests.
    pub fn let_rest(&mut self) {
        if let Self::Serving { must_rest, .. } = self {
            *must_rest = true;
        }
    }

    /// An exchange no longer needs it.
    pub fn finish(&mut self, exchange: usize) -> UsersLeft {
        let Self::Serving { exchanges, must_rest } = self else { return UsersLeft::None { must_rest: false } };
        match exchanges.without(exchange) {
            Some(others) => {
                *exchanges = others;
                UsersLeft::Some
            }
            None => UsersLeft::None { must_rest: *must_rest },
        }
    }

    /// Nobody uses it any more: it is kept until then (milliseconds).
    pub fn park(&mut self, until: u64, must_rest: bool, turn: u64) {
        let next_use = if must_rest { NextUse::AfterRest } else { NextUse::AtOnce };
        *self = Self::Idle(IdleSpan { until, next_use, began_in: turn });
    }

    /// The turn in which it became idle has ended. The time is in microseconds.
    pub fn begin_rest(&mut self, now: u64) {
        if let Self::Idle(IdleSpan { next_use: next_use @ NextUse::AfterRest, .. }) = self {
            *next_use = NextUse::From(now + REST_MICROS);
        }
    }

    /// Reserves it.
    pub fn promise(&mut self) {
        *self = Self::Promised;
    }

    /// Gives it to an exchange.
    pub fn serve(&mut self, exchange: usize, turn: u64) -> Trust {
        let is_sure = match self {
            Self::Idle(IdleSpan { next_use, began_in, .. }) => *next_use == NextUse::AtOnce && *began_in != turn,
            Self::Serving { .. } | Self::Promised => true,
        };
        *self = Self::new(Carried::one(exchange));
        if is_sure { Trust::Sure } else { Trust::Unsure }
    }

    /// Whether nobody uses it, and it is reserved for nobody.
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// Whether it is idle and may serve at this time (microseconds).
    pub fn is_ripe(&self, now: u64) -> bool {
        match self {
            Self::Idle(IdleSpan { next_use: NextUse::AtOnce, .. }) => true,
            Self::Idle(IdleSpan { next_use: NextUse::From(at), .. }) => *at <= now,
            _ => false,
        }
    }

    /// Its timer has fired.
    pub fn on_deadline(&self, now: u64) -> BackDeadline {
        match self {
            Self::Idle(IdleSpan { until, .. }) if *until <= now => BackDeadline::Over,
            Self::Idle(IdleSpan { until, .. }) => BackDeadline::Later(*until),
            Self::Serving { .. } | Self::Promised => BackDeadline::Moot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: UsersLeft = UsersLeft::None { must_rest: false };

    fn parked(must_rest: bool) -> BackConnection {
        let mut back = BackConnection::new(Carried::one(3));
        if must_rest {
            back.let_rest();
        }
        assert_eq!((back.finish(3), back.is_idle()), (UsersLeft::None { must_rest }, false));
        back.park(100, must_rest, 1);
        back
    }

    #[test]
    fn between_two_exchanges_it_may_serve_at_once() {
        let mut back = parked(false);
        assert!(back.is_idle() && back.is_ripe(0) && back.exchanges().is_none());
        assert_eq!(back.serve(4, 2), Trust::Sure);
        assert_eq!(back.exchanges().map(|exchanges| exchanges.iter().collect()), Some(vec![4]));
        assert_eq!((back.is_ripe(0), back.finish(4)), (false, FREE));
    }

    #[test]
    fn in_the_turn_in_which_it_became_idle_the_poll_may_not_have_told_all() {
        assert_eq!(parked(false).serve(4, 1), Trust::Unsure);
    }

    #[test]
    fn after_an_answer_without_content_it_rests_from_the_end_of_the_turn() {
        let mut back = parked(true);
        assert!(!back.is_ripe(u64::MAX), "the rest has not begun");
        back.begin_rest(7000);
        back.begin_rest(8000);
        assert!(!back.is_ripe(11_999) && back.is_ripe(12_000));
        assert_eq!((back.serve(4, 9), back.finish(4)), (Trust::Unsure, FREE), "the next answer has content");
        let mut back = parked(false);
        back.begin_rest(7000);
        assert!(back.is_ripe(0), "the others do not rest");
    }

    #[test]
    fn one_that_is_promised_is_neither_idle_nor_in_use() {
        let mut back = BackConnection::new(Carried::one(3));
        back.promise();
        assert!(!back.is_idle() && !back.is_ripe(u64::MAX) && back.exchanges().is_none());
        assert_eq!((back.on_deadline(u64::MAX), back.serve(4, 1)), (BackDeadline::Moot, Trust::Sure));
    }

    #[test]
    fn only_idle_ones_have_a_deadline() {
        let mut back = parked(false);
        assert_eq!((back.on_deadline(99), back.on_deadline(100)), (BackDeadline::Later(100), BackDeadline::Over));
        back.serve(4, 2);
        assert_eq!(back.on_deadline(100), BackDeadline::Moot);
    }
}
