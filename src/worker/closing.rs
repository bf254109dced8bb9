//! The end of an upstream connection: its transport takes leave, then its slot is freed and its place passed on.

use super::clients::LEAVE_MS;
use super::core::{Core, Net};
use super::upstream::{Stage, Upstream};
use crate::net::transport::{Close, Transport};
use crate::upstream::server::Server;

impl<N: Net> Core<N> {
    /// Closes an upstream connection, once its transport has taken leave. The socket is closed at the end of the turn, and only then is
    /// the place given back.
    pub(super) fn close_upstream(&mut self, key: usize) {
        let upstream = &mut self.upstreams[key];
        if upstream.is_leaving() {
            return;
        }
        upstream.lease.begin_close();
        self.idle.remove(upstream.server().slot, key);
        upstream.pass_to(|stage| stage.into_link().map_or(Stage::Left(None), Stage::Leaving));
        self.upstream_wheel.set(key as u32, self.turn.now.millis() + LEAVE_MS);
        self.go_on_leaving(key);
    }

    /// A connection that is closing says what is left to say, unless the time for that is over.
    pub(super) fn go_on_leaving(&mut self, key: usize) {
        let (upstream, is_over) = (&mut self.upstreams[key], self.upstream_wheel.deadline(key as u32).is_none());
        if upstream.socket_mut().is_none_or(|link| is_over || link.take_leave()) {
            upstream.pass_to(|stage| Stage::Left(stage.into_link()));
            self.upstream_wheel.cancel(key as u32);
            self.closing_upstreams.push(key);
        }
    }

    /// Resets a connection in the middle of an exchange: its end must not look regular, and a reset leaves no port in TIME_WAIT.
    pub(super) fn reset_upstream(&mut self, key: usize) {
        self.upstreams[key].socket_mut().into_iter().for_each(|link| link.close(Close::Reset));
        self.close_upstream(key);
    }

    /// Closes a connection without waiting for the end of the turn, because its descriptor is needed.
    pub(super) fn close_upstream_now(&mut self, key: usize) {
        self.close_upstream(key);
        self.closing_upstreams.retain(|&closing| closing != key);
        self.free_upstream(key);
    }

    /// Closes the connection to a server that has been idle longest, if there is one.
    pub(super) fn close_coldest(&mut self, server: &Server) {
        if let Some(key) = self.idle.coldest(server.slot) {
            self.close_upstream(key);
        }
    }

    /// Closes the idle connections that `goes` selects.
    pub(super) fn close_idle(&mut self, goes: impl Fn(&Upstream<N::Transport>) -> bool) {
        let is_idle = |upstream: &Upstream<N::Transport>| upstream.is_idle() && goes(upstream);
        let keys: Vec<usize> = self.upstreams.iter().filter(|(_, upstream)| is_idle(upstream)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close_upstream(key));
    }

    /// The connection is a tunnel now, for which room was reserved: its place is free for others.
    pub(super) fn become_tunnel(&mut self, exchange: usize) -> Option<()> {
        let talk = &mut self.talks[exchange];
        let upstream = &mut self.upstreams[talk.upstream?];
        upstream.lease.become_tunnel(talk.exchange.take_tunnel());
        let pool = upstream.pool.clone();
        self.hand_on_place(&pool);
        Some(())
    }

    pub(super) fn free_upstream(&mut self, key: usize) {
        self.upstream_wheel.cancel(key as u32);
        let pool = self.upstreams[key].pool.clone();
        drop(self.upstreams.remove(key));
        self.hand_on_place(&pool);
        self.on_descriptor_freed();
    }
}
