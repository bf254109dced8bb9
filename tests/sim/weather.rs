//! What a seed determines: a world's configuration, its network, the actors and their behaviour.

use super::client::{Client, Quit};
use super::extras::{Extras, upstream};
use super::ledger::{Books, Entry, Fault, Flaw, Frame, Framing, Plan, Route, Spec, When, pattern};
use super::net::Roads;
use super::origin::Leave;
use tidegate::config::model::{Action, BalanceConfig, Config, Matcher, NewRequests, Retry};
use tidegate::config::{ConfigSources, load};

/// A limit of connections that is never nearly reached.
pub const AMPLE_DOORS: usize = 1000;

/// The general conditions of a world.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Everybody is polite, nothing fails, and time passes only while actors wait: every request must succeed.
    pub is_calm: bool,
    /// Only attempts at origins fail, and everybody is polite: whatever another attempt can repair must succeed.
    pub is_mild: bool,
    pub workers: usize,
    pub servers: usize,
    /// In calm weather: clients may be three times as slow as origins, or the other way round.
    pub are_clients_slow: bool,
    /// Time jumps ahead at random.
    pub jumps: bool,
    pub mtu: usize,
    pub max_buffer: usize,
    pub max_content: usize,
    pub clients: usize,
    /// Connections to each server.
    pub places: usize,
    pub doors: usize,
    pub descriptors: usize,
    pub roads: Roads,
    /// Origins close idle connections.
    pub leaves_idle: bool,
    /// Each server has a first address that is of no use.
    pub has_decoys: bool,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Failures in a row that open a circuit; 0 = none does.
    pub failure_threshold: u32,
    /// Steps after which the process drains.
    pub drain_at: Option<u64>,
}

/// Limit of a request's content in every world.
const MAX_BODY: usize = 400_000;

impl Weather {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let kind = rng.u8(0..10);
        let (is_calm, is_mild) = (kind < 4, kind == 4 || kind == 5);
        let is_wild = !is_calm && !is_mild;
        let is_scarce = !is_mild && rng.u8(0..3) == 0;
        // Only few bodies are so large that one turn does not move all of one.
        let is_huge = rng.u8(0..40) == 0;
        let max_content = if is_huge { 3_000_000 } else { [300, 5_000, 40_000, 300_000][rng.usize(0..4)] };
        let mtu = [1, 60, 1460, 16_000, 64_000][rng.usize(0..5)].max(if is_huge { 300_000 } else { max_content / 300 });
        let max_buffer = [500, 4_000, 20_000, 200_000][rng.usize(0..4)].max(if is_huge { 1_000_000 } else { max_content / 100 });
        let wild = |rng: &mut fastrand::Rng, percent: u8| if is_wild && rng.bool() { rng.u8(0..percent) } else { 0 };
        Self {
            is_calm,
            is_mild,
            workers: rng.usize(1..=2),
            servers: rng.usize(1..=3),
            are_clients_slow: rng.bool(),
            jumps: is_wild && rng.bool(),
            mtu,
            max_buffer,
            max_content,
            clients: if is_huge { 1 } else { rng.usize(1..=8) },
            places: if is_scarce { rng.usize(1..=3) } else { 100 },
            doors: if !is_mild && rng.u8(0..5) == 0 { rng.usize(1..=3) } else { AMPLE_DOORS },
            descriptors: if !is_mild && rng.u8(0..5) == 0 { rng.usize(2..=8) } else { 1000 },
            roads: Roads { refused: wild(rng, 30), ignored: wild(rng, 20), unreachable: wild(rng, 10), starved: wild(rng, 10) },
            leaves_idle: !is_mild && rng.u8(0..3) == 0,
            has_decoys: !is_mild && rng.u8(0..6) == 0,
            max_retries: rng.u32(u32::from(is_mild)..=2),
            failure_threshold: if is_mild { 0 } else { rng.u32(0..=3) },
            drain_at: (is_wild && rng.u8(0..5) == 0).then(|| rng.u64(0..3000)),
        }
    }

    /// Whether only an actor's own fault can make a request fail.
    pub fn is_fair(&self) -> bool {
        let Roads { refused, ignored, unreachable, starved } = self.roads;
        let is_ample = self.places == 100 && self.doors == AMPLE_DOORS && self.descriptors == 1000;
        !self.jumps && !self.has_decoys && is_ample && refused + ignored + unreachable + starved == 0 && self.drain_at.is_none()
    }

    /// What such addresses do with every request, if they take connections at all. In calm worlds they do not, so nothing is lost there.
    pub fn habit(&self, seed: u64) -> Option<Fault> {
        let habits = [None, Some(Fault::Silent), Some(Fault::Busy), Some(Fault::ResetAt(40))];
        habits[seed as usize % habits.len()].filter(|_| self.has_decoys && !self.is_calm)
    }

    pub fn config(&self, rng: &mut fastrand::Rng) -> Config {
        let mut config =
            load(ConfigSources { alone: true, ..ConfigSources::default() }).map_err(|_| "the defaults do not load").unwrap().config;
        config.workers = self.workers;
        config.limits.buffer_size = [4096, 4096, 16_384, 65_536][rng.usize(0..4)];
        config.limits.max_body_size = MAX_BODY as u64;
        config.limits.max_client_conns = self.doors;
        // Counted, but never reached.
        config.limits.max_conns_per_client = 1000;
        let idle = [1, 64, 64][rng.usize(0..3)];
        for pool in &mut config.pools {
            (pool.limits.max_conns_per_upstream, pool.limits.upstream_idle_conns) = (self.places, idle);
        }
        config.shutdown.grace_ms = rng.u32(1..3000);
        config.shutdown.new_requests = if rng.bool() { NewRequests::Reject } else { NewRequests::Refuse };
        let timeouts = &mut config.timeouts;
        // In calm weather every timeout is longer than any single stall of the side that it applies to, and shorter than two of them, or
        // than one of the other side's.
        let (client_ms, origin_ms) = if self.are_clients_slow { (3000, 1000) } else { (1000, 3000) };
        let mut draw = |calm: u32, from: u32| if self.is_calm { calm } else { rng.u32(from..2000) };
        timeouts.connect_ms = draw(1000, 10);
        timeouts.read_ms = draw(origin_ms, 50);
        timeouts.write_ms = draw(origin_ms, 50);
        timeouts.client_request_line_ms = draw(client_ms, 50);
        timeouts.client_header_ms = draw(client_ms, 50);
        timeouts.client_body_ms = draw(client_ms, 50);
        timeouts.client_write_ms = draw(client_ms, 50);
        timeouts.client_keepalive_ms = draw(6000, 50);
        timeouts.client_half_close_ms = if self.is_mild { 0 } else { draw(0, 50) };
        timeouts.upstream_keepalive_ms = draw(1000, 1);
        // Long tunnels would be nothing but health checks.
        timeouts.tunnel_idle_ms = 10_000;
        timeouts.queue_ms = draw(80_000_000, 0);
        // A large answer in small pieces may not be there in time.
        timeouts.total_ms = if self.is_calm || self.is_mild || rng.bool() { 0 } else { rng.u32(100..4000) };
        if timeouts.total_ms > 0 {
            let one = [&mut timeouts.read_ms, &mut timeouts.write_ms, &mut timeouts.client_body_ms].into_iter().nth(rng.usize(0..6));
            one.into_iter().for_each(|one| *one = 0);
        }
        config.pools[0].upstreams = (0..self.servers).map(upstream).collect();
        config.pools[0].timeouts = config.timeouts.clone();
        config.pools[0].retry = Retry {
            max_retries: self.max_retries,
            backoff_ms: [0, 10][rng.usize(0..2)],
            max_backoff_ms: 20,
            budget_percent: 20,
            statuses: [503].into_iter().collect(),
        };
        config.pools[0].breaker.failure_threshold = self.failure_threshold;
        config.pools[0].breaker.timeout_ms = rng.u32(1..3000);
        config.pools[0].balance = [
            BalanceConfig::RoundRobin,
            BalanceConfig::Random,
            BalanceConfig::Weighted,
            BalanceConfig::LeastConnections,
            BalanceConfig::ConsistentHash { header: None },
            BalanceConfig::Adaptive,
        ][rng.usize(0..6)]
        .clone();
        let actions = [
            ("/echo", Action::Echo { name: "sim".into() }),
            ("/respond", Action::Respond { status: 200, body: "fixed".into() }),
            ("/nowhere", Action::Unbuilt),
        ];
        config.routes = actions
            .into_iter()
            .map(|(prefix, action)| tidegate::config::model::Route {
                name: prefix.into(),
                matcher: Matcher { path_prefix: Some(prefix.into()), ..Matcher::default() },
                action,
                timeouts: config.timeouts.clone(),
                retry: Retry::default(),
                owns_budget: false,
                rate_limit: None,
                access_log: true,
                max_body_size: MAX_BODY as u64,
            })
            .collect();
        config
    }

    fn size(&self, rng: &mut fastrand::Rng) -> usize {
        let max = match rng.u8(0..8) {
            0 => return 0,
            1..=4 => 200,
            5 | 6 => self.max_content / 8 + 1,
            _ => self.max_content,
        };
        rng.usize(0..=max)
    }

    /// How long an actor stalls, and at which byte.
    pub fn stall(&self, most: usize, longest: u64, rng: &mut fastrand::Rng) -> Option<(usize, u64)> {
        let longest = if self.is_calm { longest } else { 3000 };
        (!self.is_mild && rng.bool()).then(|| (rng.usize(0..=most), rng.u64(longest / 2..=longest)))
    }

    pub fn spec(&self, nonce: u64, rng: &mut fastrand::Rng) -> Spec {
        let method = ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PUT", "DELETE"][rng.usize(0..9)];
        let minor = u8::from(rng.u8(0..6) != 0);
        let framing = match (method, rng.u8(0..4)) {
            ("POST" | "PUT", 0 | 1) if minor == 1 => Framing::Chunked,
            ("POST" | "PUT", _) => Framing::Known,
            (_, 0) if minor == 1 => [Framing::Known, Framing::Chunked][rng.usize(0..2)],
            _ => Framing::Bare,
        };
        let content = if framing == Framing::Bare { pattern(0, 0) } else { pattern(2 * nonce, self.size(rng).min(MAX_BODY)) };
        let route = match rng.u8(0..20) {
            0 | 1 => Route::Echo,
            2 => Route::Respond,
            3 => Route::Nowhere,
            _ => Route::Proxy,
        };
        let expects = minor == 1 && !content.is_empty() && rng.u8(0..4) == 0;
        let mut spec = Spec {
            nonce,
            method,
            minor,
            framing,
            content,
            expects,
            closes: rng.u8(0..10) == 0,
            route,
            flaw: None,
            tunnel: None,
            address: 7,
        };
        if !self.is_calm && !self.is_mild && rng.u8(0..15) == 0 {
            self.spoil(&mut spec, rng);
        }
        spec
    }

    fn spoil(&self, spec: &mut Spec, rng: &mut fastrand::Rng) {
        let heads = [
            "A : b\r\n",
            "A: b\r\n c\r\n",
            "A\r\n",
            "Host: other\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "A: \u{0}\r\n",
            "A: b\nB: c\r\n",
        ];
        let noise = [
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{0}\u{0}\r\n\r\n",
            "GET /\r\n\r\n",
            "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        let chunks = ["x\r\n", "5 \r\n", "-1\r\n", "ffffffffffffffff1\r\n", "0\r\n bad\r\n\r\n", "5\n", ";\r\n"];
        spec.expects = false;
        spec.flaw = Some(match rng.u8(0..4) {
            0 => Flaw::Noise(noise[rng.usize(0..noise.len())]),
            1 if spec.framing == Framing::Chunked && spec.content.len() > 1 => Flaw::Chunk(chunks[rng.usize(0..chunks.len())]),
            2 if spec.framing != Framing::Bare && self.max_content > 10_000 => {
                spec.content = pattern(2 * spec.nonce, MAX_BODY + rng.usize(1..2000));
                Flaw::Oversize
            }
            _ => {
                // A second Host is an error only where there is a first one.
                spec.minor = 1;
                Flaw::Head(heads[rng.usize(0..heads.len())])
            }
        });
    }

    pub fn plan(&self, spec: &Spec, rng: &mut fastrand::Rng) -> Plan {
        let frame = match rng.u8(0..10) {
            0 => Frame::Bare,
            1 | 2 => Frame::UntilClose,
            3..=5 => Frame::Chunked,
            _ => Frame::Known,
        };
        let content = if frame == Frame::Bare { pattern(0, 0) } else { pattern(2 * spec.nonce + 1, self.size(rng)) };
        let status = match frame {
            Frame::Bare => [204, 304][rng.usize(0..2)],
            _ => [200, 200, 200, 404, 500, 302][rng.usize(0..6)],
        };
        let when = match rng.u8(0..6) {
            0 => When::AtHead,
            1 => When::Within(rng.usize(0..=spec.content.len())),
            _ => When::AtEnd,
        };
        let mut interims: Vec<u16> = (0..rng.usize(0..3)).map(|_| 103).filter(|_| rng.u8(0..4) == 0).collect();
        // Without 100 (Continue) a slow client cannot be told from a slow origin.
        if spec.expects && (self.are_clients_slow || self.is_mild || rng.u8(0..4) != 0) {
            interims.push(100);
        }
        // The answer to a HEAD that would last until close has no length, and ends with its head.
        let minor = if frame == Frame::Chunked || !interims.is_empty() { 1 } else { u8::from(rng.u8(0..5) != 0) };
        let mut plan = Plan {
            when,
            interims,
            status,
            minor,
            frame,
            content,
            closes: rng.u8(0..8) == 0,
            fault: Fault::None,
            bad_times: 1,
            stall: None,
            pause: None,
            gives_up: None,
        };
        if !plan.interims.is_empty() && spec.expects {
            // 100 (Continue) makes sense only before the content.
            plan.when = When::AtHead;
        }
        let longest = if self.are_clients_slow { 900 } else { 2700 };
        if plan.when != When::AtEnd || rng.bool() {
            plan.stall = self.stall(plan.content.len() + 200, longest, rng);
        } else {
            plan.pause = self.stall(spec.content.len(), longest, rng);
        }
        if !self.is_calm && rng.u8(0..5) == 0 {
            plan.fault = self.fault(spec, &plan, rng);
            plan.bad_times = [1, 1, 2, u32::MAX][rng.usize(0..4)];
            if plan.fault == Fault::Leave {
                plan.when = When::AtEnd;
            }
        }
        plan
    }

    fn fault(&self, spec: &Spec, plan: &Plan, rng: &mut fastrand::Rng) -> Fault {
        let answer = plan.content.len() + 300;
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "<html>\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        ];
        let within_answer = |rng: &mut fastrand::Rng| if self.is_mild || rng.u8(0..3) == 0 { 0 } else { rng.usize(0..answer) };
        match rng.u8(0..10) {
            0 | 1 => Fault::ResetAt(within_answer(rng)),
            2 | 3 => Fault::FinAt(within_answer(rng)),
            4 => Fault::ResetWithin(rng.usize(0..=spec.content.len())),
            5 => Fault::Leave,
            6 => Fault::Silent,
            7 => [Fault::Deaf(rng.usize(0..=spec.content.len())), Fault::Extra][usize::from(plan.frame != Frame::UntilClose && rng.bool())],
            8 if plan.frame != Frame::Bare => Fault::Busy,
            _ => Fault::Malformed(heads[rng.usize(0..heads.len())]),
        }
    }

    /// Whether another attempt repairs the planned fault: it shows before the first byte of an answer or in its status, and the whole
    /// request can be sent again.
    pub fn is_cured(&self, spec: &Spec, plan: &Plan, books: &mut Books) -> bool {
        /// Well below what the budget always allows.
        const MAX_FAULTS: u32 = 12;
        books.planned_faults += u32::from(plan.fault != Fault::None);
        let is_early = match plan.fault {
            Fault::ResetAt(0) | Fault::FinAt(0) | Fault::Leave | Fault::ResetWithin(_) => true,
            Fault::Busy => plan.interims.is_empty() && spec.framing == Framing::Bare,
            _ => false,
        };
        is_early
            && plan.when == When::AtEnd
            && plan.interims.is_empty()
            && plan.bad_times <= self.max_retries
            && self.failure_threshold == 0
            && books.planned_faults <= MAX_FAULTS
            && spec.is_idempotent()
            && spec.framing == Framing::Bare
    }

    /// A client with its requests, which are entered into the books.
    pub fn client(
        &self,
        extras: &Extras,
        next_nonce: &mut u64,
        books: &mut Books,
        rng: &mut fastrand::Rng,
        dice: &mut fastrand::Rng,
    ) -> Client {
        // Few addresses where connections of an address are limited.
        let address = if extras.per_client > 0 { dice.u8(7..9) } else { 7 };
        let mut nonces = Vec::new();
        let (mut is_over, mut was_good) = (false, true);
        let is_polite = self.is_calm || self.is_mild || rng.u8(0..3) != 0;
        let mut total = 0;
        for _ in 0..rng.usize(1..=6) {
            let nonce = *next_nonce;
            *next_nonce += 1;
            let mut spec = self.spec(nonce, rng);
            extras.alter(&mut spec, dice);
            spec.address = address;
            let plan = self.plan(&spec, rng);
            total += spec.content.len() + 200;
            let is_forbidden = is_over || (spec.flaw == Some(Flaw::Oversize) && spec.framing == Framing::Known);
            // An idle connection that is being closed is replaced only for a request that may be sent twice.
            let is_safe = !self.leaves_idle || (self.is_calm && spec.is_repeatable());
            let is_served = plan.fault == Fault::None || self.is_cured(&spec, &plan, books);
            // A circuit may be open because of another request's fault.
            let is_let_through = self.is_calm || self.failure_threshold == 0;
            let is_good = is_polite && is_served && is_let_through && spec.flaw.is_none() && !is_over;
            // A failed request may end the connection, and with it those after it.
            was_good &= self.is_calm || (is_good && self.is_fair() && plan.stall.is_none() && plan.pause.is_none());
            let is_sure = is_good && is_safe && was_good && !extras.spoils(self);
            is_over |= !spec.keeps();
            // What is sent after it would go through the tunnel.
            let may_switch = spec.tunnel.is_some();
            nonces.push(nonce);
            let entry = Entry::new(spec, plan, is_forbidden, is_sure);
            books.entries.insert(nonce, entry);
            extras.switch(nonce, books, dice);
            if (is_over && (is_polite || rng.bool())) || may_switch {
                break;
            }
        }
        let mut client = Client::new(0, nonces);
        client.address = address;
        client.depth = [1, 1, 2, 6][rng.usize(0..4)];
        client.grain = [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(total / 300);
        client.sip = [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(self.max_content / 300);
        // A client that has closed its side cannot send anything through a tunnel.
        client.half_closes = rng.u8(0..5) == 0 && !client.nonces.iter().any(|nonce| books.entries[nonce].spec.tunnel.is_some());
        // After an answer, the rest of its request is read for two seconds in total: a polite client is not slower.
        match (rng.u8(0..3), self.are_clients_slow) {
            (0, true) => client.read_stall = self.stall(self.max_content, 1600, rng),
            (0, false) => client.read_stall = self.stall(self.max_content, 900, rng),
            (_, true) => client.send_stalls.extend(self.stall(total, 1600, rng)),
            (_, false) => {
                client.send_stalls.extend(self.stall(total, 900, rng));
                client.send_stalls.extend(self.stall(total, 900, rng));
                client.send_stalls.sort();
                client.send_stalls.dedup_by_key(|stall| stall.0);
            }
        }
        if !is_polite {
            let (sending, reading) = (rng.usize(0..=total), rng.usize(0..=self.max_content));
            client.quit = match rng.u8(0..9) {
                0 => Quit::Never,
                1 => Quit::ResetAfterSending(sending),
                2 => Quit::ResetAfterReading(reading),
                3 => Quit::CloseAfterSending(sending),
                4 => Quit::MuteAfter(sending),
                5 => Quit::DeafAfter(reading),
                6 => Quit::FinAfter(sending),
                7 => Quit::MuteAtContent,
                _ => Quit::ResetAfterReading(1),
            };
        }
        if extras.dozes {
            client.doze = dice.u64(1..900);
            client.depth = 1;
        }
        if !self.is_calm && (!client.send_stalls.is_empty() || client.read_stall.is_some() || client.doze > 0) {
            // A stall may be longer than a timeout.
            client.nonces.iter().for_each(|nonce| books.entries.get_mut(nonce).unwrap().is_sure = false);
        }
        let may_send_more = client.nonces.len() > 1 || client.nonces.iter().any(|nonce| !books.entries[nonce].spec.content.is_empty());
        if self.doors < AMPLE_DOORS && may_send_more {
            // Near the limit any answer may be the last, and only few connections linger: what is sent after an answer may cause a reset.
            client.nonces.iter().for_each(|nonce| books.entries.get_mut(nonce).unwrap().is_sure = false);
        }
        client
    }

    /// After how long an origin closes an idle connection (microseconds), and how.
    pub fn patience(&self, rng: &mut fastrand::Rng) -> Option<(u64, Leave)> {
        let leave = [Leave::Fin, Leave::Fin, Leave::Rst, Leave::Noise][rng.usize(0..if self.is_calm { 3 } else { 4 })];
        (self.leaves_idle && rng.bool()).then(|| ([0, 1, 50, 100_000][rng.usize(0..4)], leave))
    }
}
