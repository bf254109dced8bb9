//! What half of the worlds have besides plain requests: tunnels, routes by host and method, reloads that workers learn of at
//! different times, changing addresses, health checks, limits of rates and connections, an admin port. It has a random generator of
//! its own, so that the seeds of plain worlds keep their meaning.

use super::client::Client;
use super::ledger::{Books, Entry, Fault, Frame, Framing, GiveUp, Route, Spec, When, pattern};
use super::weather::Weather;
use tidegate::config::model::{
    Action, BalanceConfig, Config, HealthCheck, Matcher, PoolConfig, Rate, RateAlgorithm, RateLimit, UpstreamConfig,
};

/// The servers of the second pool have numbers from here on.
pub const OTHER_SERVERS: usize = 5;

/// The extras of a world.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    pub has_tunnels: bool,
    pub has_routes: bool,
    /// Steps at which the configuration is read again.
    pub reloads: Vec<u64>,
    /// Steps at which a server gets another address.
    pub moves: Vec<u64>,
    /// A worker's turn takes several steps, and other steps come between them.
    pub interleaves: bool,
    /// Clients of the admin port.
    pub admins: usize,
    /// `limits.max_conns_per_client`; 0: the limit is never reached.
    pub per_client: usize,
    pub rate: Option<Rate>,
    pub is_checked: bool,
    /// Clients are as hostile as elsewhere, but no upstream does anything wrong, so none may be considered failing.
    pub are_origins_well: bool,
    /// Where descriptors are few, there are more clients than descriptors, and they rest between their requests.
    pub dozes: bool,
}

impl Extras {
    pub fn draw(weather: &Weather, dice: &mut fastrand::Rng) -> Self {
        if weather.max_content > 1_000_000 || dice.bool() {
            return Self::default();
        }
        let one_in = |dice: &mut fastrand::Rng, n: u8| dice.u8(0..n) == 0;
        let is_wild = !weather.is_calm && !weather.is_mild;
        let steps = |dice: &mut fastrand::Rng, most: usize| (0..dice.usize(0..=most)).map(|_| dice.u64(1..4000)).collect();
        Self {
            has_tunnels: one_in(dice, 2),
            has_routes: one_in(dice, 2),
            reloads: if one_in(dice, 2) { steps(dice, 3) } else { Vec::new() },
            moves: if one_in(dice, 3) { steps(dice, 3) } else { Vec::new() },
            interleaves: weather.workers > 1 && one_in(dice, 2),
            admins: if one_in(dice, 3) { dice.usize(1..=3) } else { 0 },
            per_client: if is_wild && one_in(dice, 4) { dice.usize(1..=2) } else { 0 },
            rate: (is_wild && one_in(dice, 4)).then(|| Rate { requests_per_second: dice.u32(1..20), burst: dice.u32(1..10) }),
            is_checked: one_in(dice, 3),
            are_origins_well: is_wild && one_in(dice, 2),
            dozes: weather.descriptors < 1000 && one_in(dice, 2),
        }
    }

    /// Whether these extras may make a request fail.
    pub fn spoils(&self, weather: &Weather) -> bool {
        self.per_client > 0 || self.rate.is_some() || (self.is_checked && !weather.is_calm && !weather.is_mild)
    }

    pub fn configure(&self, config: &mut Config, is_kind: bool, dice: &mut fastrand::Rng) {
        if self.per_client > 0 {
            config.limits.max_conns_per_client = self.per_client;
        }
        config.rate_limit = self.rate.map(|rate| RateLimit {
            algorithm: [RateAlgorithm::TokenBucket, RateAlgorithm::SlidingWindow][dice.usize(0..2)],
            global: Some(rate),
            per_client: None,
            dry_run: false,
            owns_global: true,
            owns_per_client: true,
        });
        if self.is_checked {
            let method = ["GET", "HEAD", "POST"][dice.usize(0..3)];
            config.pools[0].health_check = Some(HealthCheck {
                path: "/check".into(),
                interval_ms: dice.u32(20..500),
                timeout_ms: if is_kind { 5000 } else { dice.u32(5..500) },
                failure_threshold: dice.u32(1..=2),
                success_threshold: dice.u32(1..=2),
                expected_status: (200, 299),
                method: method.into(),
                host: [None, Some("check.test".into())][dice.usize(0..2)].clone(),
                headers: [("X-Check".into(), "1".into())].into_iter().filter(|_| dice.bool()).collect(),
                port: None,
                expected_body: Some("s well".into()).filter(|_| method != "HEAD" && dice.bool()),
                fail_open: dice.bool(),
            });
        }
        if self.has_routes {
            self.route(config, dice);
        }
    }

    /// Routes to a second pool by host, and to answers made here by host and by method.
    fn route(&self, config: &mut Config, dice: &mut fastrand::Rng) {
        let mut other: PoolConfig = config.pools[0].clone();
        other.name = "other".into();
        other.upstreams = (0..dice.usize(1..=2)).map(|index| upstream(OTHER_SERVERS + index)).collect();
        config.pools.push(other);
        let model = config.routes[0].clone();
        let route = |name: &str, matcher: Matcher, action: Action| tidegate::config::model::Route {
            name: name.into(),
            matcher,
            action,
            timeouts: config.timeouts.clone(),
            retry: config.pools[0].retry.clone(),
            ..model.clone()
        };
        let respond = |body: &str| Action::Respond { status: 200, body: body.into() };
        let by_host = |host: &str| Matcher { host: Some(host.into()), ..Matcher::default() };
        let by_method = |methods: &[&str]| Matcher {
            path_prefix: Some("/method".into()),
            methods: methods.iter().map(|&method| method.into()).collect(),
            ..Matcher::default()
        };
        let more = [
            route("pages", by_host("pages.test"), respond("by host")),
            route("other", by_host("*.other.test"), Action::Proxy { pool: 1 }),
            route("method", by_method(&["PUT", "POST"]), respond("by method")),
            route("no method", by_method(&[]), Action::Unbuilt),
        ];
        config.routes.splice(0..0, more);
    }

    /// How a reload changes the configuration: never so that a request could fail.
    pub fn reconfigure(&self, config: &mut Config, weather: &Weather, dice: &mut fastrand::Rng) {
        let upstreams = &mut config.pools[0].upstreams;
        match dice.u8(0..6) {
            0 if upstreams.len() < OTHER_SERVERS => {
                let number = (0..).find(|&number| !upstreams.iter().any(|upstream| number_of(&upstream.name) == number)).unwrap();
                upstreams.insert(dice.usize(0..=upstreams.len()), self::upstream(number));
            }
            1 | 2 if upstreams.len() > 1 => drop(upstreams.remove(dice.usize(0..upstreams.len()))),
            3 => {
                config.pools[0].balance =
                    if config.pools[0].balance == BalanceConfig::Random { BalanceConfig::RoundRobin } else { BalanceConfig::Random }
            }
            4 if weather.places < 100 => config.pools[0].limits.max_conns_per_upstream = dice.usize(1..=3),
            5 => config.pools[0].breaker.timeout_ms = dice.u32(1..3000),
            _ => {}
        }
    }

    /// Changes some requests into other than plain ones. Returns whether it must be the last of its connection.
    pub fn alter(&self, spec: &mut Spec, dice: &mut fastrand::Rng) {
        if spec.flaw.is_some() {
            return;
        }
        if self.has_routes && dice.u8(0..3) == 0 {
            spec.route = [Route::Host, Route::Other, Route::Other, Route::Method][dice.usize(0..4)];
            // Without a Host field it would go elsewhere.
            spec.minor = 1;
        }
        let may_tunnel = matches!(spec.route, Route::Proxy | Route::Other) && spec.method == "GET" && spec.framing == Framing::Bare;
        if self.has_tunnels && may_tunnel && dice.u8(0..3) == 0 {
            (spec.minor, spec.closes) = (1, false);
            spec.tunnel = Some(pattern(2 * spec.nonce, dice.usize(0..3000)));
        }
    }

    /// The origin's side of that; it may also answer as usual.
    pub fn switch(&self, nonce: u64, books: &mut Books, dice: &mut fastrand::Rng) {
        let entry = books.entries.get_mut(&nonce).unwrap();
        if self.are_origins_well {
            (entry.plan.fault, entry.plan.stall, entry.plan.pause) = (Fault::None, None, None);
            // Nobody may be blamed for an origin that does not wait for slow clients.
            let may_give_up = !entry.is_sure && !entry.spec.content.is_empty() && entry.spec.tunnel.is_none();
            entry.plan.gives_up =
                may_give_up.then(|| (dice.u64(1..200), [GiveUp::Close, GiveUp::Close, GiveUp::Timeout, GiveUp::Answer][dice.usize(0..4)]));
        }
        if entry.spec.tunnel.is_some() && dice.u8(0..4) != 0 {
            let plan = &mut entry.plan;
            (plan.status, plan.frame, plan.minor, plan.when, plan.closes) = (101, Frame::Tunnel, 1, When::AtEnd, false);
            if plan.fault == Fault::Extra {
                // Bytes after an answer would be part of the tunnel.
                plan.fault = Fault::None;
            }
            plan.content = pattern(2 * nonce + 1, plan.content.len().max(1));
        }
    }
}

/// In some worlds one more client, that sends very many requests at once, each of which is answered without an upstream: it could
/// keep its worker busy for as long as it likes.
pub fn greedy(weather: &Weather, seed: u64, books: &mut Books) -> Option<Client> {
    let mut dice = fastrand::Rng::with_seed(seed ^ 0x6_eed1);
    if weather.mtu < 1000 || weather.max_content > 1_000_000 || dice.u8(0..8) != 0 {
        return None;
    }
    let first = books.entries.keys().last().map_or(1, |last| last + 1);
    let nonces: Vec<u64> = (first..first + dice.u64(40..150)).collect();
    for &nonce in &nonces {
        let entry = Entry::made_here(nonce, [Route::Respond, Route::Nowhere][dice.usize(0..2)]);
        books.entries.insert(nonce, entry);
    }
    let mut client = Client::new(0, nonces);
    (client.depth, client.is_hasty) = (usize::MAX, true);
    Some(client)
}

pub fn upstream(number: usize) -> UpstreamConfig {
    UpstreamConfig {
        name: format!("origin-{number}"),
        origin: tidegate::config::model::Origin::tcp(&format!("origin-{number}.test"), 80),
        weight: 1,
        is_checked: true,
        is_backup: false,
        send_proxy: None,
    }
}

/// Some servers expect headers of the PROXY protocol.
pub fn announce(config: &mut Config) {
    for upstream in config.pools.iter_mut().flat_map(|pool| &mut pool.upstreams) {
        upstream.send_proxy = super::net::announces(number_of(&upstream.name));
    }
}

/// The number of a server, which is in its name and in the third byte of its addresses.
pub fn number_of(name: &str) -> usize {
    name.strip_prefix("origin-").and_then(|number| number.parse().ok()).expect("a server's name")
}
