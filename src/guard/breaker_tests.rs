//! The state machine alone, step by step and compared with a simple model.

use super::*;
use crate::config::model::Statuses;

const CONFIG: Breaker = Breaker {
    failure_threshold: 3,
    success_threshold: 2,
    timeout_ms: 100,
    last_resort_ms: 0,
    half_open_requests: 1,
    failure_statuses: Statuses::NONE,
};

/// Makes it half-open if it was open for long enough.
fn wake(circuit: &Circuit, now: u64) -> Option<CircuitChange> {
    let is_over = |opening: &CircuitOpening| now >= opening.at + 100;
    circuit.half_open(circuit.opening().filter(is_over)?)
}

fn opened_at(circuit: &Circuit) -> Option<u64> {
    circuit.opening().map(|opening| opening.at)
}

type Admitted = (CircuitPermit, Option<Trial>);

/// The attempt is over.
fn settle(circuit: &Circuit, (permit, trial): Admitted, verdict: AttemptVerdict, config: &Breaker, now: u64) -> Option<CircuitChange> {
    trial.into_iter().for_each(|trial| circuit.end_trial(trial));
    circuit.settle(permit, verdict, config, now)
}

/// One attempt, if it is permitted.
fn attempt(circuit: &Circuit, verdict: AttemptVerdict, now: u64) -> Option<CircuitChange> {
    settle(circuit, circuit.admit(&CONFIG).expect("let through"), verdict, &CONFIG, now)
}

fn opened() -> Circuit {
    let circuit = Circuit::default();
    for _ in 0..3 {
        attempt(&circuit, AttemptVerdict::Failure, 0);
    }
    assert_eq!((circuit.state(), opened_at(&circuit)), (CircuitState::Open, Some(0)));
    circuit
}

#[test]
fn failures_in_a_row_open_it() {
    let circuit = Circuit::default();
    for verdict in [
        AttemptVerdict::Failure,
        AttemptVerdict::Failure,
        AttemptVerdict::Success,
        AttemptVerdict::Failure,
        AttemptVerdict::Unknown,
        AttemptVerdict::Failure,
    ] {
        assert_eq!(attempt(&circuit, verdict, 7), None);
    }
    assert_eq!(attempt(&circuit, AttemptVerdict::Failure, 7), Some(CircuitChange { from: CircuitState::Closed, to: CircuitState::Open }));
    assert_eq!((circuit.admit(&CONFIG), circuit.would_admit(&CONFIG)), (None, false));
    assert_eq!(
        (wake(&circuit, 106), wake(&circuit, 107).map(|change| change.to), wake(&circuit, 107)),
        (None, Some(CircuitState::HalfOpen), None)
    );
}

#[test]
fn trials_close_it_and_a_failure_opens_it_again() {
    let circuit = opened();
    wake(&circuit, 100);
    let trial = circuit.admit(&CONFIG).unwrap();
    assert_eq!((circuit.admit(&CONFIG), circuit.would_admit(&CONFIG)), (None, false));
    assert_eq!(settle(&circuit, trial, AttemptVerdict::Success, &CONFIG, 101), None);
    assert_eq!(
        attempt(&circuit, AttemptVerdict::Success, 102),
        Some(CircuitChange { from: CircuitState::HalfOpen, to: CircuitState::Closed })
    );

    let circuit = opened();
    wake(&circuit, 100);
    assert_eq!(attempt(&circuit, AttemptVerdict::Success, 101), None);
    assert_eq!(
        attempt(&circuit, AttemptVerdict::Failure, 150),
        Some(CircuitChange { from: CircuitState::HalfOpen, to: CircuitState::Open })
    );
    assert_eq!(opened_at(&circuit), Some(150));
}

#[test]
fn a_trial_that_says_nothing_makes_room_for_the_next() {
    let circuit = opened();
    wake(&circuit, 100);
    for _ in 0..5 {
        assert_eq!(attempt(&circuit, AttemptVerdict::Unknown, 101), None);
    }
    let (long, trial) = circuit.admit(&CONFIG).unwrap();
    circuit.end_trial(trial.expect("a trial"));
    assert_eq!(attempt(&circuit, AttemptVerdict::Success, 102), None);
    assert_eq!(circuit.settle(long, AttemptVerdict::Success, &CONFIG, 103).map(|change| change.to), Some(CircuitState::Closed));
}

#[test]
fn what_began_before_says_nothing_now() {
    let circuit = Circuit::default();
    let old: Vec<CircuitPermit> = (0..4).map(|_| circuit.admit(&CONFIG).unwrap().0).collect();
    for _ in 0..3 {
        attempt(&circuit, AttemptVerdict::Failure, 0);
    }
    circuit.settle(old[0], AttemptVerdict::Success, &CONFIG, 1);
    circuit.settle(old[1], AttemptVerdict::Failure, &CONFIG, 50);
    assert_eq!(opened_at(&circuit), Some(0));
    wake(&circuit, 100);
    circuit.settle(old[2], AttemptVerdict::Failure, &CONFIG, 101);
    circuit.settle(old[3], AttemptVerdict::Success, &CONFIG, 101);
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
}

#[test]
fn thresholds_may_be_as_large_as_can_be_configured() {
    let large = Breaker { failure_threshold: 200_000, half_open_requests: 1_000_000_000, success_threshold: 70_000, ..CONFIG };
    let circuit = Circuit::default();
    let attempt = |verdict| settle(&circuit, circuit.admit(&large).unwrap(), verdict, &large, 0);
    assert!((1..200_000).all(|_| attempt(AttemptVerdict::Failure).is_none()));
    assert_eq!(attempt(AttemptVerdict::Failure).map(|change| change.to), Some(CircuitState::Open));
    wake(&circuit, 100);
    assert!((1..70_000).all(|_| attempt(AttemptVerdict::Success).is_none()));
    let mut trials: Vec<Admitted> = std::iter::from_fn(|| circuit.admit(&large)).collect();
    assert_eq!((trials.len(), circuit.would_admit(&large)), (65_535, false));
    let one = trials.pop().expect("one of them");
    assert_eq!(settle(&circuit, one, AttemptVerdict::Success, &large, 0).map(|change| change.to), Some(CircuitState::Closed));
}

#[test]
fn without_a_threshold_there_is_no_breaker() {
    let off = Breaker { failure_threshold: 0, ..CONFIG };
    let circuit = opened();
    for _ in 0..10 {
        let admitted = circuit.admit(&off).unwrap();
        assert_eq!(settle(&circuit, admitted, AttemptVerdict::Failure, &off, 1), None);
    }
    assert!(circuit.would_admit(&off));
}

/// A reload turns the breaker off while requests of the old configuration are in flight, and nothing would close it again.
#[test]
fn what_began_under_a_breaker_that_is_gone_opens_nothing() {
    let circuit = Circuit::default();
    let old: Vec<CircuitPermit> = (0..3).map(|_| circuit.admit(&CONFIG).unwrap().0).collect();
    circuit.reset();
    for permit in old {
        assert_eq!(circuit.settle(permit, AttemptVerdict::Failure, &CONFIG, 1), None);
    }
}

#[test]
fn workers_count_together() {
    for _ in 0..200 {
        let circuit = Circuit::default();
        let changes = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let permit = CircuitPermit { epoch: 0 };
                    let change = circuit.settle(permit, AttemptVerdict::Failure, &CONFIG, 0);
                    changes.fetch_add(usize::from(change.is_some()), SeqCst);
                });
            }
        });
        assert_eq!((circuit.state(), changes.into_inner()), (CircuitState::Open, 1));
    }
}

/// Whatever happens in whatever order, no more trials run than allowed, and none is lost.
#[test]
fn trials_are_neither_lost_nor_too_many() {
    let mut rng = fastrand::Rng::with_seed(3);
    let config = Breaker { half_open_requests: 2, ..CONFIG };
    let (circuit, mut running, mut now) = (Circuit::default(), Vec::new(), 0);
    for _ in 0..100_000 {
        match rng.u8(0..5) {
            0 | 1 => running.extend(circuit.admit(&config)),
            2 | 3 if !running.is_empty() => {
                let admitted = running.swap_remove(rng.usize(0..running.len()));
                let verdict = [AttemptVerdict::Success, AttemptVerdict::Failure, AttemptVerdict::Unknown][rng.usize(0..3)];
                settle(&circuit, admitted, verdict, &config, now);
            }
            _ => {
                now += rng.u64(0..60);
                wake(&circuit, now);
            }
        }
        let word = CircuitWord::of(circuit.word.load(SeqCst));
        let trials = running.iter().filter(|(_, trial)| trial.as_ref().is_some_and(|trial| trial.epoch == word.epoch)).count();
        if word.state == CircuitState::HalfOpen {
            assert!(usize::from(word.trials) == trials && trials <= 2 << word.count, "{} {trials}", word.trials);
        } else {
            assert_eq!(word.trials, 0);
        }
        running.truncate(50);
    }
}

#[test]
fn each_success_lets_twice_as_many_through() {
    let config = Breaker { half_open_requests: 3, success_threshold: 100, ..CONFIG };
    let circuit = opened();
    wake(&circuit, 100);
    for at_a_time in [3, 6, 12, 24] {
        let trials: Vec<Admitted> = std::iter::from_fn(|| circuit.admit(&config)).collect();
        assert_eq!(trials.len(), at_a_time);
        let last = trials.len() - 1;
        for (nth, trial) in trials.into_iter().enumerate() {
            let verdict = if nth == last { AttemptVerdict::Success } else { AttemptVerdict::Unknown };
            assert_eq!(settle(&circuit, trial, verdict, &config, 101), None);
        }
    }
}

#[test]
fn what_is_tolerated_counts_and_opens_nothing() {
    let circuit = Circuit::default();
    assert!((0..5).all(|_| attempt(&circuit, AttemptVerdict::Tolerated, 7).is_none()));
    assert_eq!(attempt(&circuit, AttemptVerdict::Failure, 8).map(|change| change.to), Some(CircuitState::Open));
    wake(&circuit, 108);
    assert_eq!(attempt(&circuit, AttemptVerdict::Tolerated, 109), None);
    assert_eq!((circuit.state(), circuit.trials()), (CircuitState::HalfOpen, 0));
}

#[test]
fn it_remembers_whether_there_was_a_connection() {
    for (verdict, is_unconnected) in [(AttemptVerdict::Unconnected, true), (AttemptVerdict::Failure, false)] {
        let circuit = Circuit::default();
        (0..3).for_each(|_| _ = attempt(&circuit, verdict, 7));
        assert_eq!(circuit.opening().map(|opening| (opening.at, opening.is_unconnected)), Some((7, is_unconnected)));
    }
}

#[test]
fn who_was_let_through_all_the_same_and_is_served_is_as_good_as_a_trial() {
    let circuit = opened();
    let (first, second) = (circuit.insist().unwrap(), circuit.insist().unwrap());
    assert_eq!(circuit.settle(first, AttemptVerdict::Unconnected, &CONFIG, 50), None);
    assert_eq!(opened_at(&circuit), Some(0), "it does not stay open for longer");
    assert_eq!(circuit.settle(second, AttemptVerdict::Success, &CONFIG, 60).map(|change| change.to), Some(CircuitState::HalfOpen));
    assert_eq!(circuit.insist(), None);
    assert_eq!(attempt(&circuit, AttemptVerdict::Success, 61).map(|change| change.to), Some(CircuitState::Closed));
}

/// A caller saw it open, and it has closed and opened again since.
#[test]
fn an_opening_is_ended_once() {
    let circuit = opened();
    let seen = circuit.opening().unwrap();
    assert!(circuit.half_open(seen).is_some() && circuit.half_open(seen).is_none());
    attempt(&circuit, AttemptVerdict::Failure, 500);
    assert_eq!((circuit.half_open(seen), circuit.state()), (None, CircuitState::Open));
}
