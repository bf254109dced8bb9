//! Which server is picked, and why none is.

use super::*;
use crate::config::model::{Origin, PoolLimits};
use crate::config::{self, model::UpstreamConfig};
use crate::guard::breaker::CircuitPermit;
use crate::guard::places::{Needs, UpstreamLimits};
use crate::guard::wait_queue::{Aim, Ticket, Wish};
use crate::upstream::circuits::{OpenCircuit, OpenCircuits};
use crate::upstream::server::UpstreamFault;
use std::time::{Duration, Instant};

const THRESHOLD: u32 = 3;

fn pool_of(upstreams: Vec<UpstreamConfig>) -> Arc<Pool> {
    let sources = config::ConfigSources { alone: true, ..config::ConfigSources::default() };
    pool_from(&model::PoolConfig { upstreams, ..config::load(sources).unwrap().config.pools.remove(0) })
}

fn pool_from(config: &model::PoolConfig) -> Arc<Pool> {
    let server = |(slot, config): (usize, &UpstreamConfig)| Arc::new(Server::new(config.clone(), config.origin.address(), slot, 2));
    let servers = config.upstreams.iter().enumerate().map(server).collect();
    crate::balance::tests::begin_with_the_first();
    Arc::new(Pool::new(config, servers, Arc::new(Budget::new(2)), &[0; 32]))
}

fn upstream(name: String, host: &str, weight: u32) -> UpstreamConfig {
    UpstreamConfig { name, origin: Origin::tcp(host, 1), weight, is_checked: true, is_backup: false, send_proxy: None }
}

fn pool(weights: &[u32]) -> Arc<Pool> {
    pool_of(weights.iter().enumerate().map(|(index, &weight)| upstream(index.to_string(), "127.0.0.1", weight)).collect())
}

/// The worker that asks.
struct Picker {
    worker: usize,
    limit: usize,
    needs: Needs,
    now: u64,
    tried: Vec<usize>,
    again: RetryChoice,
    rng: fastrand::Rng,
    granted: Vec<Grant>,
}

impl Picker {
    fn of(worker: usize, limit: usize) -> Self {
        let (needs, tried, again, rng) = (Needs::default(), Vec::new(), RetryChoice::Anywhere, fastrand::Rng::with_seed(1));
        Self { worker, limit, needs, now: 0, tried, again, rng, granted: Vec::new() }
    }

    fn seeker(&mut self) -> PickRequest<'_> {
        let Self { worker, needs, now, tried, again, rng, .. } = self;
        let want = Requirements { worker: *worker, needs: *needs, now: *now, tried, again: *again };
        PickRequest { rng, key: 0, want }
    }

    fn limit(&self, pool: &Pool) {
        let limits = PoolLimits { max_conns_per_upstream: self.limit, max_tunnels_per_upstream: 1, upstream_idle_conns: 1 };
        pool.servers.iter().for_each(|server| server.set_limits(&limits));
    }

    fn admit(&mut self, pool: &Pool) -> Option<(Ticket, Grant)> {
        self.limit(pool);
        pool.admit_first(&mut self.rng, self.worker, self.now)
    }

    /// The server and whether an idle connection comes with it, or why there is none. What is granted is kept.
    fn pick(&mut self, pool: &Pool) -> Result<(usize, bool), NoGrant> {
        self.limit(pool);
        let grant = pool.pick(self.seeker())?;
        let picked = (grant.server, !grant.reserved.has_place());
        self.granted.push(grant);
        Ok(picked)
    }
}

fn needing(needs: Needs) -> Wish {
    Wish { needs, ..Wish::default() }
}

/// The permit of an attempt that is over.
fn permit(pool: &Pool, server: usize, now: u64) -> Option<CircuitPermit> {
    pool.wake(server, &[], now);
    let circuit = &pool.servers[server].circuit;
    let (permit, trial) = circuit.admit(&pool.policy.breaker)?;
    trial.into_iter().for_each(|trial| circuit.end_trial(trial));
    Some(permit)
}

/// Fails as many requests in a row as it takes; `is_unconnected` says whether no connection was made.
fn fail_so(pool: &Arc<Pool>, server: usize, is_unconnected: bool, now: u64) -> Option<OpenCircuit> {
    let fault = UpstreamFault::Status(503);
    (0..THRESHOLD).filter_map(|_| pool.blame(server, permit(pool, server, now)?, fault, is_unconnected, now)).next()
}

/// Opens the circuit of that server at `now`.
fn fail(pool: &Arc<Pool>, server: usize, now: u64) -> Option<OpenCircuit> {
    fail_so(pool, server, true, now)
}

fn states(pool: &Pool) -> Vec<CircuitState> {
    pool.servers.iter().map(|server| server.circuit.state()).collect()
}

#[test]
fn a_full_server_is_passed_over_and_a_full_pool_waits() {
    let (pool, mut picker) = (pool(&[1, 1, 0]), Picker::of(0, 2));
    let mut picks: Vec<_> = (0..4).map(|_| picker.pick(&pool).unwrap()).collect();
    picks.sort_unstable();
    assert_eq!(picks, [(0, false), (0, false), (1, false), (1, false)]);
    assert_eq!(picker.pick(&pool), Err(NoGrant::Full));
}

#[test]
fn nobody_passes_those_who_wait() {
    let (pool, mut picker) = (pool(&[1]), Picker::of(0, 10));
    let ticket = Ticket { worker: 1, key: 0, serial: 1 };
    pool.queue.join(ticket, needing(Needs::default()));
    assert_eq!(picker.pick(&pool), Err(NoGrant::Full));
    assert_eq!(picker.admit(&pool).map(|(ticket, grant)| (ticket, grant.server)), Some((ticket, 0)));
    assert_eq!(picker.pick(&pool), Ok((0, false)));
}

#[test]
fn who_waits_after_a_failure_goes_elsewhere_while_another_server_is_usable() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 1));
    let ticket = |key| Ticket { worker: 1, key, serial: 1 };
    let elsewhere = Wish { aim: Aim::others(&[0]), ..Wish::default() };
    assert!(pool.servers[1].places.try_enter(Needs::default(), UpstreamLimits { connections: 1, tunnels: 1 }));
    pool.queue.join(ticket(0), elsewhere.clone());
    assert!(picker.admit(&pool).is_none(), "the other one is full, but not down");
    assert_eq!([0, 1].map(|index| pool.is_wanted(index)), [false, true]);
    assert_eq!(picker.pick(&pool), Ok((0, false)), "newcomers may go to the one that failed another's request");
    picker.granted.clear();
    pool.servers[1].places.leave();
    assert_eq!(picker.admit(&pool).map(|(ticket, grant)| (ticket.key, grant.server)), Some((0, 1)));
    pool.queue.join(ticket(1), elsewhere);
    assert!(fail(&pool, 1, 0).is_some());
    assert_eq!(picker.admit(&pool).map(|(ticket, grant)| (ticket.key, grant.server)), Some((1, 0)), "there is no other now");
}

#[test]
fn who_waits_keeps_its_key() {
    let sources = config::ConfigSources { alone: true, ..config::ConfigSources::default() };
    let upstreams = (0..20).map(|index| upstream(index.to_string(), "127.0.0.1", 1)).collect();
    let balance = model::BalanceConfig::ConsistentHash { header: None };
    let pool = pool_from(&model::PoolConfig { upstreams, balance, ..config::load(sources).unwrap().config.pools.remove(0) });
    let mut picker = Picker::of(0, 100);
    for key in [3, 99, 12_345, u64::MAX] {
        let mut seeker = picker.seeker();
        seeker.key = key;
        let picked = pool.pick(seeker).expect("there is room");
        pool.queue.join(Ticket { worker: 1, key: 0, serial: 1 }, Wish { key, ..Wish::default() });
        assert_eq!(picker.admit(&pool).map(|(_, grant)| grant.server), Some(picked.server));
    }
}

#[test]
fn an_idle_connection_needs_no_place() {
    let pool = pool(&[1]);
    pool.servers[0].cells[0].idle.add(1);
    assert_eq!((Picker::of(0, 0).pick(&pool), Picker::of(1, 0).pick(&pool)), (Ok((0, true)), Err(NoGrant::Full)));
    assert_eq!(pool.idle_elsewhere(1, |_| true).map(|(worker, _)| worker), Some(0));
    assert!(pool.idle_elsewhere(0, |_| true).is_none());
}

#[test]
fn why_there_is_none() {
    let of = |pool: &Pool| Picker::of(0, 1).pick(pool);
    assert_eq!((of(&pool(&[])), of(&pool(&[0]))), (Err(NoGrant::Unavailable), Err(NoGrant::Unavailable)));
    assert_eq!(of(&pool_of(vec![upstream("n".into(), "name.invalid", 1)])), Err(NoGrant::Unresolved));
}

#[test]
fn who_has_failed_the_request_is_picked_only_if_there_is_no_other() {
    let (pool, mut picker) = (pool(&[1, 1, 1]), Picker::of(0, 100));
    picker.tried = vec![0, 2];
    assert!((0..9).all(|_| picker.pick(&pool) == Ok((1, false))));
    picker.tried = vec![0, 1, 2];
    assert!(picker.pick(&pool).is_ok());
    let (pool, mut picker) = (self::pool(&[1, 1]), Picker::of(0, 1));
    picker.tried = vec![0];
    assert_eq!((picker.pick(&pool), picker.pick(&pool), picker.pick(&pool)), (Ok((1, false)), Ok((0, false)), Err(NoGrant::Full)));
}

#[test]
fn an_open_circuit_is_passed_over_until_its_time_is_over() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 100));
    let opened = fail(&pool, 0, 500).unwrap();
    assert_eq!((opened.server, pool.wakes_at(0), pool.servers[0].failures_in_a_row()), (0, Some(20_500), THRESHOLD));
    assert_eq!(pool.servers[0].last_fault().map(|fault| fault.to_string()), Some("status 503".into()));
    picker.now = 20_499;
    assert!((0..9).all(|_| picker.pick(&pool) == Ok((1, false))));
    picker.now = 20_500;
    // One trial at a time, and the other server has room.
    let picks: Vec<_> = (0..9).map(|_| picker.pick(&pool).unwrap().0).collect();
    assert_eq!(picks.iter().filter(|&&server| server == 0).count(), 1);
}

#[test]
fn the_last_resort_is_half_open_soon() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 100));
    assert!(fail(&pool, 0, 500).is_some() && fail(&pool, 1, 900).is_some());
    assert_eq!((pool.wakes_at(0), pool.wakes_at(1)), (Some(1500), Some(1900)));
    picker.now = 1499;
    assert_eq!((picker.pick(&pool), pool.retry_after(900)), (Err(NoGrant::Unavailable), 1));
    picker.now = 1900;
    // One trial at a time; other requests wait.
    assert_eq!((picker.pick(&pool), picker.pick(&pool)), (Ok((0, false)), Err(NoGrant::Full)));
    assert_eq!(pool.wakes_at(1), Some(20_900), "there is another");
    let mut pool = Arc::into_inner(self::pool(&[1])).unwrap();
    pool.policy.breaker.last_resort_ms = 0;
    let pool = Arc::new(pool);
    assert!(fail(&pool, 0, 0).is_some());
    picker.now = 19_999;
    assert_eq!((picker.pick(&pool), pool.wakes_at(0)), (Err(NoGrant::Unavailable), Some(20_000)));
}

#[test]
fn open_circuits_become_half_open_in_time_and_those_of_retired_servers_are_forgotten() {
    let (pool, mut open) = (pool(&[1, 1, 1]), OpenCircuits::default());
    (0..3).for_each(|index| open.add(fail(&pool, index, 100 * index as u64).unwrap()));
    assert_eq!((open.soonest(), open.wake(999)), (Some(1000), false));
    assert!(open.wake(1200), "the first is half-open, and so the others are not the last");
    assert_eq!(states(&pool), [CircuitState::HalfOpen, CircuitState::Open, CircuitState::Open]);
    assert_eq!(open.soonest(), Some(20_100));
    pool.servers[1].retire();
    assert!(open.wake(1300), "nobody waits for it");
    assert_eq!(open.soonest(), Some(20_200));
    pool.servers[1].revive();
    assert_eq!(OpenCircuits::of(std::slice::from_ref(&pool)).soonest(), Some(20_100), "it has come back");
    assert!(open.wake(20_200));
    assert_eq!(open.soonest(), None);
}

/// The shortest time that it took.
fn least_time(mut what: impl FnMut()) -> Duration {
    let time = |_| {
        let begin = Instant::now();
        what();
        begin.elapsed()
    };
    (0..30).map(time).min().unwrap()
}

#[test]
fn what_a_request_costs_grows_no_faster_than_a_pool_in_which_nearly_all_have_failed() {
    let times = |count: usize| {
        let (pool, mut picker) = (pool(&vec![1; count]), Picker::of(0, 100));
        let last = count - 1;
        (0..last).for_each(|index| assert!(fail(&pool, index, 0).is_some()));
        // Their time as a last resort is over.
        picker.now = 5000;
        let passed_over = least_time(|| assert_eq!(picker.pick(&pool), Ok((last, false))));
        picker.limit = 1;
        let full = least_time(|| assert_eq!(picker.pick(&pool), Err(NoGrant::Full)));
        picker.granted.clear();
        let mut open = OpenCircuits::of(std::slice::from_ref(&pool));
        let woken = least_time(|| assert!(!open.wake(5000) && open.soonest() == Some(20_000)));
        pool.servers[last].update(&upstream(last.to_string(), "127.0.0.1", 0), Share::WHOLE);
        picker.now = 500;
        let refused = least_time(|| assert_eq!((picker.pick(&pool), pool.retry_after(500)), (Err(NoGrant::Unavailable), 1)));
        let woken_in_vain = least_time(|| assert!(!open.wake(500) && open.soonest() == Some(1000)));
        [passed_over, full, woken, refused, woken_in_vain]
    };
    let (few, many) = (times(250), times(2000));
    // Eight times as many take eight times as long, but 64 times if each of them looked at all others.
    let is_good = few.iter().zip(&many).all(|(few, many)| *many < *few * 24);
    assert!(is_good, "{few:?} for 250, {many:?} for 2,000");
}

#[test]
fn what_a_client_can_provoke_leaves_one_upstream() {
    let pool = pool(&[1, 1]);
    assert!(fail_so(&pool, 0, false, 0).is_some());
    assert!(fail_so(&pool, 1, false, 0).is_none());
    assert_eq!(Picker::of(0, 100).pick(&pool), Ok((1, false)));
    assert_eq!(pool.servers[1].failures_in_a_row(), THRESHOLD, "it is told all the same");
}

#[test]
fn only_whole_requests_are_trials() {
    let (pool, mut picker) = (pool(&[1]), Picker::of(0, 100));
    assert!(fail(&pool, 0, 0).is_some());
    (picker.now, picker.needs) = (1000, Needs { is_partial: true, ..Needs::default() });
    assert_eq!((picker.pick(&pool), pool.is_on_trial(1000), pool.servers[0].circuit.trials()), (Err(NoGrant::Full), true, 0));
    picker.needs = Needs::default();
    assert_eq!(picker.pick(&pool), Ok((0, false)));
}

#[test]
fn who_was_refused_goes_on_although_the_circuit_is_open() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 100));
    assert!(fail(&pool, 0, 0).is_some() && fail(&pool, 1, 0).is_some());
    assert_eq!(picker.pick(&pool), Err(NoGrant::Unavailable));
    (picker.again, picker.tried) = (RetryChoice::Regardless, vec![1]);
    assert_eq!(picker.pick(&pool), Ok((1, false)));
    // A server that refused the request does not count as another usable one.
    let pool = self::pool(&[1, 1]);
    assert!(fail(&pool, 0, 0).is_some());
    picker.now = 1000;
    assert_eq!(picker.pick(&pool), Ok((0, false)));
}

#[test]
fn who_waited_too_long_for_one_goes_to_another_or_nowhere() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 1));
    (picker.again, picker.tried) = (RetryChoice::Elsewhere, vec![0]);
    assert_eq!((picker.pick(&pool), picker.pick(&pool)), (Ok((1, false)), Err(NoGrant::Unavailable)));
    assert!(pool.has_untried(|server| server == 0, 0) && !pool.has_untried(|_| true, 0));
}

#[test]
fn a_check_that_passes_speaks_for_who_could_not_be_connected_to() {
    for (is_unconnected, failed_at, is_half_open) in
        [(true, None, true), (false, None, false), (false, Some(99), false), (false, Some(100), true)]
    {
        let pool = pool(&[1, 1]);
        assert!(fail_so(&pool, 0, is_unconnected, 100).is_some());
        pool.on_check_passed(0, failed_at);
        let state = pool.servers[0].circuit.state();
        assert_eq!(state == CircuitState::HalfOpen, is_half_open, "{is_unconnected} {failed_at:?}");
    }
}

#[test]
fn those_whose_content_is_to_come_have_a_half_and_hold_up_nobody() {
    let (pool, mut picker) = (pool(&[1]), Picker::of(0, 4));
    let partial = Needs { is_partial: true, ..Needs::default() };
    picker.needs = partial;
    assert_eq!([picker.pick(&pool), picker.pick(&pool), picker.pick(&pool)], [Ok((0, false)), Ok((0, false)), Err(NoGrant::Full)]);
    let ticket = |key| Ticket { worker: 1, key, serial: 1 };
    pool.queue.join(ticket(0), needing(partial));
    picker.needs = Needs::default();
    assert_eq!(picker.pick(&pool), Ok((0, false)), "it passes who waits for more than a place");
    assert!(!pool.is_wanted(0), "a place alone helps nobody");
    pool.queue.join(ticket(1), needing(Needs::default()));
    assert_eq!(picker.pick(&pool), Err(NoGrant::Full), "but not who waits for the same");
    let (called, mut whole) = picker.admit(&pool).expect("who needs no more than a place");
    assert_eq!((called.key, whole.reserved.is_partial(), picker.admit(&pool).is_none()), (1, false, true));
    drop(picker.granted[0].reserved.take_partial());
    assert!(pool.is_wanted(0));
    drop(whole.reserved.take_place());
    let called = picker.admit(&pool).map(|(ticket, grant)| (ticket.key, grant.reserved.is_partial()));
    assert_eq!(called, Some((0, true)));
}

#[test]
fn who_wants_a_tunnel_goes_where_there_is_room_for_one_or_nowhere() {
    let (pool, mut picker) = (pool(&[1, 1]), Picker::of(0, 2));
    picker.needs.tunnel = true;
    let mut picks = [picker.pick(&pool), picker.pick(&pool)];
    picks.sort_unstable_by_key(|pick| pick.map_or(9, |(server, _)| server));
    assert_eq!(picks, [Ok((0, false)), Ok((1, false))]);
    assert_eq!(picker.pick(&pool), Err(NoGrant::NoTunnel));
    let ticket = Ticket { worker: 1, key: 0, serial: 1 };
    pool.queue.join(ticket, needing(picker.needs));
    assert_eq!((pool.dismiss_first(0), pool.dismiss_first(0)), (Some(ticket), None), "nobody is queued for that");
    picker.needs.tunnel = false;
    assert!(picker.pick(&pool).is_ok());
}

#[test]
fn who_finds_no_place_takes_no_trial_from_others() {
    let (pool, mut picker) = (pool(&[1]), Picker::of(0, 0));
    assert!(fail(&pool, 0, 0).is_some());
    picker.now = 20_000;
    assert_eq!((picker.pick(&pool), picker.pick(&pool)), (Err(NoGrant::Full), Err(NoGrant::Full)));
    picker.limit = 1;
    assert_eq!(picker.pick(&pool), Ok((0, false)));
}

#[test]
fn a_pool_that_is_down_says_when_it_may_be_up() {
    let mut pool = Arc::into_inner(pool(&[1, 1, 0])).unwrap();
    pool.policy.recovery_ms = 5000;
    let pool = Arc::new(pool);
    let fail_checks = |server: usize| {
        pool.servers[server].health.set_checked(true);
        pool.servers[server].health.set_verdict(crate::health::check::HealthVerdict::Failing);
    };
    fail_checks(0);
    fail_checks(1);
    assert_eq!(pool.retry_after(0), 5, "who has no weight never comes");
    pool.servers[1].health.set_checked(false);
    assert!(fail(&pool, 1, 0).is_some());
    assert_eq!((pool.retry_after(0), pool.retry_after(700)), (1, 1));
}

#[test]
fn who_comes_back_is_ramped_up_to_its_share() {
    let servers = vec![upstream("a".into(), "127.0.0.1", 1), upstream("b".into(), "127.0.0.1", 1)];
    let mut pool = Arc::into_inner(pool_of(servers)).unwrap();
    pool.policy.slow_start_ms = 1000;
    pool.servers[0].came_back(10_000);
    let mut picker = Picker::of(0, usize::MAX);
    let mut share = |now| {
        picker.now = now;
        (0..4000).filter(|_| picker.pick(&pool) == Ok((0, false))).count()
    };
    assert_eq!(share(10_000), 0);
    let half = share(10_500);
    assert!((1200..1470).contains(&half), "{half} of 4000: half a share beside a whole one");
    assert!((1900..2100).contains(&share(11_000)));
    let alone =
        Arc::into_inner(self::pool(&[1])).map(|pool| Pool { policy: Policy { slow_start_ms: 1000, ..pool.policy }, ..pool }).unwrap();
    alone.servers[0].came_back(5);
    assert_eq!(Picker { now: 5, ..Picker::of(0, 10) }.pick(&alone), Ok((0, false)));
}
