//! The machine alone, step by step and against a simple model.

use super::*;
use crate::config::model::Statuses;

const CONFIG: Breaker =
    Breaker { failure_threshold: 3, success_threshold: 2, timeout_ms: 100, half_open_requests: 1, failure_statuses: Statuses::NONE };

/// One attempt, if it is let through.
fn attempt(circuit: &Circuit, verdict: Verdict, now: u64) -> Option<Change> {
    circuit.settle(circuit.admit(&CONFIG).expect("let through"), verdict, &CONFIG, now)
}

fn opened() -> Circuit {
    let circuit = Circuit::default();
    for _ in 0..3 {
        attempt(&circuit, Verdict::Failure, 0);
    }
    assert_eq!((circuit.state(), circuit.opens_until()), (State::Open, Some(100)));
    circuit
}

#[test]
fn failures_in_a_row_open_it() {
    let circuit = Circuit::default();
    for verdict in [Verdict::Failure, Verdict::Failure, Verdict::Success, Verdict::Failure, Verdict::Unknown, Verdict::Failure] {
        assert_eq!(attempt(&circuit, verdict, 7), None);
    }
    assert_eq!(attempt(&circuit, Verdict::Failure, 7), Some(Change { from: State::Closed, to: State::Open }));
    assert_eq!((circuit.admit(&CONFIG), circuit.would_admit(&CONFIG)), (None, false));
    assert_eq!((circuit.wake(106), circuit.wake(107).map(|change| change.to), circuit.wake(107)), (None, Some(State::HalfOpen), None));
}

#[test]
fn trials_close_it_and_a_failure_opens_it_again() {
    let circuit = opened();
    circuit.wake(100);
    let trial = circuit.admit(&CONFIG).unwrap();
    assert_eq!((circuit.admit(&CONFIG), circuit.would_admit(&CONFIG)), (None, false));
    assert_eq!(circuit.settle(trial, Verdict::Success, &CONFIG, 101), None);
    assert_eq!(attempt(&circuit, Verdict::Success, 102), Some(Change { from: State::HalfOpen, to: State::Closed }));

    let circuit = opened();
    circuit.wake(100);
    assert_eq!(attempt(&circuit, Verdict::Success, 101), None);
    assert_eq!(attempt(&circuit, Verdict::Failure, 150), Some(Change { from: State::HalfOpen, to: State::Open }));
    assert_eq!(circuit.opens_until(), Some(250));
}

#[test]
fn a_trial_that_says_nothing_makes_room_for_the_next() {
    let circuit = opened();
    circuit.wake(100);
    for _ in 0..5 {
        assert_eq!(attempt(&circuit, Verdict::Unknown, 101), None);
    }
    let mut long = circuit.admit(&CONFIG).unwrap();
    circuit.end_trial(&mut long);
    assert_eq!(attempt(&circuit, Verdict::Success, 102), None);
    assert_eq!(circuit.settle(long, Verdict::Success, &CONFIG, 103).map(|change| change.to), Some(State::Closed));
}

#[test]
fn what_began_before_says_nothing_now() {
    let circuit = Circuit::default();
    let old: Vec<Permit> = (0..4).map(|_| circuit.admit(&CONFIG).unwrap()).collect();
    for _ in 0..3 {
        attempt(&circuit, Verdict::Failure, 0);
    }
    circuit.settle(old[0], Verdict::Success, &CONFIG, 1);
    circuit.settle(old[1], Verdict::Failure, &CONFIG, 50);
    assert_eq!(circuit.opens_until(), Some(100));
    circuit.wake(100);
    circuit.settle(old[2], Verdict::Failure, &CONFIG, 101);
    circuit.settle(old[3], Verdict::Success, &CONFIG, 101);
    assert_eq!(circuit.state(), State::HalfOpen);
}

#[test]
fn thresholds_may_be_as_large_as_can_be_configured() {
    let large = Breaker { failure_threshold: 200_000, half_open_requests: 1_000_000_000, success_threshold: 70_000, ..CONFIG };
    let circuit = Circuit::default();
    let attempt = |verdict| circuit.settle(circuit.admit(&large).unwrap(), verdict, &large, 0);
    assert!((1..200_000).all(|_| attempt(Verdict::Failure).is_none()));
    assert_eq!(attempt(Verdict::Failure).map(|change| change.to), Some(State::Open));
    circuit.wake(100);
    assert!((1..70_000).all(|_| attempt(Verdict::Success).is_none()));
    let trials: Vec<Permit> = std::iter::from_fn(|| circuit.admit(&large)).collect();
    assert_eq!((trials.len(), circuit.would_admit(&large)), (65_535, false));
    assert_eq!(circuit.settle(trials[0], Verdict::Success, &large, 0).map(|change| change.to), Some(State::Closed));
}

#[test]
fn without_a_threshold_there_is_no_breaker() {
    let off = Breaker { failure_threshold: 0, ..CONFIG };
    let circuit = opened();
    for _ in 0..10 {
        let permit = circuit.admit(&off).unwrap();
        assert_eq!(circuit.settle(permit, Verdict::Failure, &off, 1), None);
    }
    assert!(circuit.would_admit(&off));
}

/// A reload turns the breaker off while requests of the old configuration are in flight: nobody would close it again.
#[test]
fn what_began_under_a_breaker_that_is_gone_opens_nothing() {
    let circuit = Circuit::default();
    let old: Vec<Permit> = (0..3).map(|_| circuit.admit(&CONFIG).unwrap()).collect();
    circuit.reset();
    for permit in old {
        assert_eq!(circuit.settle(permit, Verdict::Failure, &CONFIG, 1), None);
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
                    let permit = Permit { epoch: 0, trial: false };
                    let change = circuit.settle(permit, Verdict::Failure, &CONFIG, 0);
                    changes.fetch_add(usize::from(change.is_some()), SeqCst);
                });
            }
        });
        assert_eq!((circuit.state(), changes.into_inner()), (State::Open, 1));
    }
}

/// Whatever happens in whatever order: never more trials than allowed, none is lost.
#[test]
fn trials_are_neither_lost_nor_too_many() {
    let mut rng = fastrand::Rng::with_seed(3);
    let config = Breaker { half_open_requests: 2, ..CONFIG };
    let (circuit, mut running, mut now) = (Circuit::default(), Vec::new(), 0);
    for _ in 0..100_000 {
        match rng.u8(0..5) {
            0 | 1 => running.extend(circuit.admit(&config)),
            2 | 3 if !running.is_empty() => {
                let permit = running.swap_remove(rng.usize(0..running.len()));
                let verdict = [Verdict::Success, Verdict::Failure, Verdict::Unknown][rng.usize(0..3)];
                circuit.settle(permit, verdict, &config, now);
            }
            _ => {
                now += rng.u64(0..60);
                circuit.wake(now);
            }
        }
        let word = Word::of(circuit.word.load(SeqCst));
        let trials = running.iter().filter(|permit| permit.trial && permit.epoch == word.epoch).count();
        if word.state == State::HalfOpen {
            assert!(usize::from(word.trials) == trials && trials <= 2, "{} {trials}", word.trials);
        } else {
            assert_eq!(word.trials, 0);
        }
        running.truncate(50);
    }
}
