//! `fail_open`: where every upstream of a pool fails its checks, the verdicts keep requests from none of them. Checks that fail
//! everywhere at once say more about the checks, or the way to the upstreams, than about each of these.

use crate::config::model::HealthCheck;
use crate::health::check::HealthVerdict;
use crate::health::state::HealthState;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::sync::Arc;

/// Sets the verdict on a server of the pool, and what follows for the others. At no moment does the change leave the pool without a
/// server that requests may go to.
pub(super) fn set_verdict(pool: &Pool, server: &Arc<Server>, verdict: HealthVerdict, check: &HealthCheck) {
    let opens = check.fail_open && all_fail(pool, Some((server, verdict)));
    if opens {
        ignore_verdicts(pool, true);
    }
    server.health.set_verdict(verdict);
    if !opens {
        ignore_verdicts(pool, false);
    }
}

/// The pool, its servers or its settings have changed. Returns whether requests may go to other servers than before.
pub(super) fn settle(pool: &Pool, check: Option<&HealthCheck>) -> bool {
    let opens = check.is_some_and(|check| check.fail_open) && all_fail(pool, None);
    ignore_verdicts(pool, opens)
}

/// Whether every server that could get requests fails its checks, where one of them is about to get a verdict. One that is not
/// checked does not fail.
fn all_fail(pool: &Pool, next: Option<(&Arc<Server>, HealthVerdict)>) -> bool {
    let state = |server: &Arc<Server>| match next {
        Some((other, verdict)) if Arc::ptr_eq(other, server) => HealthState::Checked(verdict),
        _ => server.health.state(),
    };
    let mut able = pool.servers.iter().filter(|server| server.is_resolved() && server.has_weight()).peekable();
    able.peek().is_some() && able.all(|server| state(server) == HealthState::Checked(HealthVerdict::Failing))
}

/// Returns whether anything has changed.
fn ignore_verdicts(pool: &Pool, are_ignored: bool) -> bool {
    // Every server is asked to change, also where the first has changed already.
    let changed = pool.servers.iter().filter(|server| server.health.ignore_failure(are_ignored)).count() > 0;
    let name = &pool.name;
    match are_ignored {
        _ if !changed => {}
        true => log::warn!(
            target: "upstream",
            "every upstream of pool {name} fails its health checks: requests go on as if none did (health_check.fail_open)"
        ),
        false => log::info!(target: "upstream", "upstreams of pool {name} that fail their health checks are left out again"),
    }
    changed
}
