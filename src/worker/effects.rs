//! What machines ask for, carried out: each effect goes to whoever knows how.

use super::core::{Core, Net};
use super::shared::RenderJob;
use super::upstream::Parting;
use crate::back::connection::BackConnection;
use crate::net::transport::{Close, Link, Transport};
use crate::session::talks::Stand;
use crate::session::{Effect, Event, Talk};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

impl<N: Net> Core<N> {
    /// Carries out what an exchange, or its front, asks for; the immediate result, if any, is an event.
    pub(super) fn perform(&mut self, client: usize, key: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Connect { server, reuse } => return self.connect(key, server, reuse),
            Effect::Reconnect => return self.reconnect(key),
            Effect::Queue { starved } => self.queue(key, starved),
            Effect::LeaveQueue => self.leave_queue(key),
            Effect::Tunnel => self.become_tunnel(key)?,
            Effect::Release { keep } => self.release(key, if keep { Parting::Keep } else { Parting::Reset }),
            Effect::CloseUpstream => self.release(key, Parting::Close),
            Effect::LetRest => self.upstreams[self.talks[key].upstream?].back_mut().into_iter().for_each(BackConnection::let_rest),
            Effect::Render(page) => {
                let asker = self.talks[key].exchange.asker();
                let job = RenderJob { page, ticket: self.ticket(key), site: Arc::clone(&self.turn.site), asker };
                // Cannot fail: the helper thread lives as long as the process.
                let _ = self.shared.renderer.send(job);
            }
            Effect::ResetUpstream => self.link_to_upstream(key)?.close(Close::Reset),
            Effect::HalfCloseUpstream => self.link_to_upstream(key)?.close(Close::Sending),
            Effect::HalfClose | Effect::Part | Effect::AskDelivered => return self.perform_for_front(client, effect),
        }
        None
    }

    /// Carries out what a front asks for.
    pub(super) fn perform_for_front(&mut self, client: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::HalfClose => {
                self.clients[client].link.close(Close::Sending);
                None
            }
            Effect::Part => self.part(client),
            Effect::AskDelivered => self.clients[client].link.is_delivered().then_some(Event::Delivered),
            _ => None,
        }
    }

    /// The connection of an exchange to its upstream.
    fn link_to_upstream(&mut self, key: usize) -> Option<&mut Link<N::Transport>> {
        self.upstreams[self.talks[key].upstream?].link_mut()
    }

    fn queue(&mut self, key: usize, starved: bool) {
        let Talk { exchange, stand, .. } = &mut self.talks[key];
        let Some(wish) = exchange.wish() else { return };
        let (pool, ticket) = (exchange.pool().clone(), exchange.ticket(self.turn.worker, key));
        *stand = Some(Stand { pool: pool.clone(), serial: ticket.serial, needs: wish.needs, starves: starved });
        self.shared.starving.fetch_add(starved.into(), SeqCst);
        pool.queue.join(ticket, wish);
        if self.keep_former(&pool) {
            self.announce_former(&pool);
        }
        self.serve_queue(&pool, starved, 1);
        self.watch_stalls();
    }
}
