//! Both scopes together, and what sections share and reloads keep.

use super::*;
use std::net::Ipv4Addr;

const SECOND: u64 = 1_000_000;

fn rate(requests_per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate { requests_per_second, burst })
}

fn limit(global: Option<Rate>, per_client: Option<Rate>) -> RateLimit {
    let algorithm = RateAlgorithm::TokenBucket;
    RateLimit { algorithm, global, per_client, dry_run: false, owns_global: true, owns_per_client: true }
}

fn limiter(limit: &RateLimit) -> Limiter {
    Limiter::new(limit, None, None)
}

fn ask(limiter: &Limiter, client: u8, now: u64) -> Result<(), RateExceeded> {
    limiter.take(now, || Peer::of(Ipv4Addr::new(10, 0, 0, client).into(), None))
}

/// How many of 100 simultaneous requests are accepted.
fn taken(limiter: &Limiter, client: u8, now: u64) -> usize {
    (0..100).filter(|_| ask(limiter, client, now).is_ok()).count()
}

const ALGORITHMS: [RateAlgorithm; 2] = [RateAlgorithm::TokenBucket, RateAlgorithm::SlidingWindow];

#[test]
fn a_refusal_uses_up_nothing_of_the_other_scope() {
    for algorithm in ALGORITHMS {
        let both = RateLimit { algorithm, ..limit(rate(6, 6), rate(4, 4)) };
        let limiter = limiter(&both);
        assert_eq!(taken(&limiter, 1, SECOND), 4);
        assert_eq!(ask(&limiter, 1, SECOND).unwrap_err().scope, RateScope::Client);
        // What the first was refused is left for the second; what the second is refused may be used later.
        assert_eq!(taken(&limiter, 2, SECOND), 2);
        let excess = ask(&limiter, 2, SECOND).unwrap_err();
        assert_eq!(excess.scope, RateScope::Global);
        assert_eq!(ask(&limiter, 2, SECOND + excess.wait), Ok(()));
    }
}

#[test]
fn who_waits_for_both_waits_long_enough() {
    for algorithm in ALGORITHMS {
        let limiter = limiter(&RateLimit { algorithm, ..limit(rate(1, 1), rate(10, 1)) });
        assert_eq!(ask(&limiter, 1, SECOND), Ok(()));
        let excess = ask(&limiter, 1, SECOND + 50_000).unwrap_err();
        assert_eq!(excess.wait, 950_000);
        assert_eq!(ask(&limiter, 1, SECOND + 50_000 + excess.wait), Ok(()));
    }
}

#[test]
fn the_client_is_only_asked_for_where_it_matters() {
    let limiter = limiter(&limit(rate(1, 1), None));
    assert_eq!(limiter.take(0, || unreachable!()), Ok(()));
    assert_eq!(limiter.take(0, || unreachable!()), Err(RateExceeded { scope: RateScope::Global, wait: SECOND }));
}

#[test]
fn seconds_are_rounded_up() {
    let seconds = |wait| RateExceeded { scope: RateScope::Global, wait }.retry_after();
    assert_eq!([0, 1, SECOND, SECOND + 1, u64::MAX].map(seconds), [1, 1, 1, 2, u32::MAX]);
}

#[test]
fn a_section_shares_what_it_does_not_say_itself() {
    let root = limiter(&limit(rate(5, 5), rate(3, 3)));
    let clients_own = RateLimit { owns_global: false, ..limit(rate(5, 5), rate(2, 2)) };
    let nothing_own = RateLimit { owns_global: false, owns_per_client: false, dry_run: true, ..limit(rate(5, 5), rate(3, 3)) };
    let route = Limiter::new(&clients_own, Some(&root), None);
    let other = Limiter::new(&nothing_own, Some(&root), None);
    assert_eq!((taken(&route, 1, 0), taken(&root, 1, 0)), (2, 3));
    assert!(other.is_dry_run);
    assert_eq!(ask(&other, 1, 0).unwrap_err().scope, RateScope::Client);
    assert_eq!(ask(&other, 2, 0).unwrap_err().scope, RateScope::Global);
}

#[test]
fn a_reload_keeps_what_has_not_changed() {
    for algorithm in ALGORITHMS {
        let before = RateLimit { algorithm, ..limit(rate(4, 4), rate(2, 2)) };
        let old = limiter(&before);
        assert_eq!((taken(&old, 1, 0), taken(&old, 2, 0)), (2, 2));
        let reload = |after: &RateLimit| Limiter::new(after, None, Some((&before, &old)));
        let dry = reload(&RateLimit { dry_run: true, ..before.clone() });
        assert_eq!((taken(&dry, 1, 0), taken(&dry, 3, 0), dry.is_dry_run), (0, 0, true));
        let more = reload(&RateLimit { global: rate(5, 5), ..before.clone() });
        assert_eq!((taken(&more, 1, 0), taken(&more, 3, 0)), (0, 2));
        let fresh = RateLimit { per_client: rate(3, 3), global: None, ..before.clone() };
        assert_eq!(taken(&reload(&fresh), 1, 0), 3);
        let turned = RateLimit { algorithm: ALGORITHMS[usize::from(algorithm == ALGORITHMS[0])], ..before.clone() };
        assert_eq!(taken(&reload(&turned), 1, 0), 2);
    }
}
