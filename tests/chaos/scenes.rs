//! The scenes: what fails, and what is required nevertheless.

use super::clients::{CLIENTS, Done};
use super::report::{Report, thousands};
use super::stage::{FAILURES, Run, Stage};
use super::upstream::Fault;
use super::upstream::Mood::{self, Absent, Busy, Cutting, Flaky, Frozen, Resetting, Swallowing, Well};
use crate::support::Config;
use std::time::{Duration, Instant};

/// The period of the retry budget: the retries in ten seconds are limited to a share of the requests in them, or a fixed number.
const WINDOW: Duration = Duration::from_secs(10);
const PERCENT: usize = 20;
const ALWAYS: usize = 30;

pub const ALL: [fn(Run) -> Report; 12] = [
    flaky,
    flaky_without_breaker,
    dead,
    killed,
    frozen,
    down,
    |run| bad_address("an address refuses", run, Absent),
    |run| bad_address("an address swallows connects", run, Swallowing),
    |run| bad_address("an address says nothing", run, Frozen),
    |run| bad_address("an address is busy", run, Busy),
    |run| bad_address("an address cuts its answers", run, Cutting),
    moving,
];

/// Two of four fail a fifth of their requests, a tenth of their connections, and close their listeners for moments.
fn flaky(run: Run) -> Report {
    some_are_flaky(Stage::set("two of four are flaky", run, [Flaky, Flaky, Well, Well], |config| config))
}

/// Without the breaker, which keeps requests away from failing upstreams, everything depends on retries.
fn flaky_without_breaker(run: Run) -> Report {
    some_are_flaky(Stage::set("the same, no breaker", run, [Flaky, Flaky, Well, Well], without_breaker))
}

fn without_breaker(config: Config) -> Config {
    config.set("circuit_breaker.failure_threshold", 0)
}

fn some_are_flaky(mut stage: Stage) -> Report {
    let mut closed = 0;
    while !stage.is_over() {
        stage.last(100, 400);
        let which = stage.choose(2);
        stage.upstreams[which].close();
        closed += 1;
        stage.last(10, 80);
        stage.upstreams[which].open();
    }
    stage.end(|stage, done| {
        stage.want_success(done);
        let faults = stage.book.faults.lock().unwrap().clone();
        let list: Vec<String> = faults.iter().map(|(fault, times)| format!("{} x {fault:?}", thousands(*times))).collect();
        let is_every = Fault::OF_FLAKY.iter().all(|fault| faults.contains_key(fault));
        stage.goal(is_every, format!("every fault was there: {}, {closed} x listener closed", list.join(", ")));
    })
}

/// One of four does not listen.
fn dead(run: Run) -> Report {
    let stage = Stage::set("one of four is dead", run, [Well, Well, Well, Absent], |config| config);
    stage.play();
    stage.end(|stage, done| {
        stage.want_success(done);
        let attempts = stage.attempts(3);
        stage.goal(attempts >= FAILURES, format!("the dead one was tried: {} times", thousands(attempts)));
    })
}

/// One of four is killed and comes back, repeatedly.
fn killed(run: Run) -> Report {
    let mut stage = Stage::set("one is killed and comes back", run, [Well; 4], |config| config);
    let mut kills = 0;
    while kills < 3 || !stage.is_over() {
        stage.upstreams[3].wait_for_more(20);
        stage.last(0, 300);
        stage.upstreams[3].kill();
        kills += 1;
        stage.last(50, 400);
        stage.upstreams[3].open();
    }
    stage.upstreams[3].wait_for_more(20);
    stage.end(|stage, done| {
        stage.want_no_failure_before_the_answer(done, &format!(", in {kills} kills"));
    })
}

/// One of four is stopped like a process by SIGSTOP, and continued.
fn frozen(run: Run) -> Report {
    let stage = Stage::set("one of four hangs", run, [Well; 4], |config| config);
    stage.upstreams[3].wait_for_more(20);
    stage.upstreams[3].be(Frozen);
    let (begin, before) = (Instant::now(), stage.attempts(3));
    stage.play();
    let (hung, attempts) = (begin.elapsed(), stage.attempts(3) - before);
    stage.upstreams[3].be(Well);
    stage.upstreams[3].wait_for_more(20);
    stage.end(|stage, done| {
        stage.want_success(done);
        stage.want_it_out(attempts, 1, (begin, hung), done);
    })
}

/// One of the four addresses of a name is bad from the start. What nothing was written of is saved whatever its method; what was cut
/// in the middle of its answer, nobody can save.
fn bad_address(scene: &'static str, run: Run, mood: Mood) -> Report {
    let begin = Instant::now();
    let stage = Stage::set_named(scene, run, [Well, Well, Well, mood]);
    stage.play();
    let (time, attempts) = (begin.elapsed(), stage.attempts(3));
    stage.end(|stage, done| {
        match mood {
            Cutting => stage.want_no_failure_before_the_answer(done, ""),
            _ => stage.want_success(done),
        }
        if matches!(mood, Absent | Swallowing) {
            let failed = done.iter().filter(|done| done.failure.is_some()).count();
            stage.goal(failed == 0, format!("nothing was written there, so no request fails, not even a POST: {failed} did"));
            let retries = stage.retries();
            stage.goal(retries == 0, format!("another address follows as the same attempt: {retries} retries"));
        }
        // Who answers at once may get a few more before the first of them is judged: that is when another upstream has answered, or
        // when the answer ends.
        let trials = if matches!(mood, Busy | Cutting) { 5 } else { 1 };
        stage.want_it_out(attempts, trials, (begin, time), done);
    })
}

/// One of the four addresses leaves the name and comes back, repeatedly. It serves all the time.
fn moving(run: Run) -> Report {
    let mut stage = Stage::set_named("an address leaves and returns", run, [Well; 4]);
    let (mut moves, mut while_away) = (0, 0);
    while moves < 3 || !stage.is_over() {
        stage.upstreams[3].wait_for_more(20);
        stage.lead_to(3);
        let before = stage.upstreams[3].served();
        stage.last(100, 400);
        while_away += stage.upstreams[3].served() - before;
        stage.lead_to(4);
        moves += 1;
    }
    stage.upstreams[3].wait_for_more(20);
    stage.end(|stage, done| {
        let failed = done.iter().filter(|done| done.failure.is_some()).count();
        stage.goal(failed == 0, format!("nothing fails: {failed} did, in {moves} moves"));
        let most = moves * CLIENTS;
        stage.goal(
            while_away <= most,
            format!("it gets no new requests while it is away: {while_away} came, at most {most} were under way"),
        );
    })
}

/// All of them read a request and reset the connection, and there is no breaker.
fn down(run: Run) -> Report {
    // Longer than the budget's period, unless the run is a short one.
    let run = Run { time: run.time * 3 / 2, ..run };
    let stage = Stage::set("all are down, no breaker", run, [Resetting; 4], without_breaker);
    stage.play();
    stage.end(|stage, done| {
        // Connections are new, so a request that is seen again was retried.
        let seen = stage.book.seen.lock().unwrap();
        let mut retries: Vec<Instant> = seen.values().flat_map(|times| &times[1..]).copied().collect();
        drop(seen);
        let (is, may) = closest_to_budget(&mut retries, done).unwrap_or_default();
        let what = format!("{} retries of {} requests", thousands(retries.len()), thousands(done.len()));
        let what = format!("retries in any 10 s are at most {PERCENT} % or {ALWAYS}: {what}; where they were closest to it, {is} of {may}");
        stage.goal(!retries.is_empty() && is <= may, what);
    })
}

/// Of all periods that end with a retry, the one closest to its limit: the number of retries, and the limit.
fn closest_to_budget(retries: &mut [Instant], done: &[Done]) -> Option<(usize, usize)> {
    retries.sort_unstable();
    let mut requests: Vec<Instant> = done.iter().map(|done| done.begin).collect();
    requests.sort_unstable();
    let within = |times: &[Instant], end: Instant| times.partition_point(|at| *at <= end) - times.partition_point(|at| *at + WINDOW <= end);
    let windows = retries.iter().map(|end| (within(retries, *end), ALWAYS.max(within(&requests, *end) * PERCENT / 100)));
    windows.max_by_key(|(is, may)| is * 1000 / may)
}

#[test]
fn a_retry_too_many_in_any_window_is_seen() {
    let zero = Instant::now();
    let at = |ms: u64| zero + Duration::from_millis(ms);
    let done = |ms: u64| Done { what: String::new(), begin: at(ms), took: Duration::ZERO, failure: None };
    // A hundred requests a second for twenty seconds allow 200 retries in ten of them.
    let requests: Vec<Done> = (0..2000).map(|n| done(n * 10)).collect();
    let spread: Vec<Instant> = (0..400).map(|n| at(5000 + n * 50)).collect();
    assert_eq!(closest_to_budget(&mut spread.clone()[..100], &requests), Some((100, 199)));
    let mut at_once: Vec<Instant> = (0..201).map(|n| at(15_000 + n)).collect();
    assert_eq!(closest_to_budget(&mut at_once, &requests), Some((201, 200)));
    assert_eq!(closest_to_budget(&mut at_once[..30], &requests[..10]), Some((30, 30)));
    assert_eq!(closest_to_budget(&mut [], &requests), None);
}
