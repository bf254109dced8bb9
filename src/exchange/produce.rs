//! Answers that no upstream gives: their head is written at once, their content as the client takes it.

use super::state::Reply;
use super::{Context, Exchange, ExchangeState, request};
use crate::admin::RenderedPage;
use crate::answer::{Answer, echo};
use crate::config::model::Action;
use crate::machine::ExchangeEnd;
use crate::machine::failure::Failure;
use crate::observe::reason::Reason;
use crate::site::Site;
use crate::source::{AnswerSource, Production, Progress, Stock, Supply, Texts};

const TEXT: &str = "text/plain; charset=utf-8";

impl Exchange {
    /// From now on this gives the answer.
    pub fn serve(&mut self, production: Production) {
        self.source = AnswerSource::Produced(production);
    }

    /// The request has been read, so the answer can be made.
    pub(super) fn reply(&mut self, cx: &mut Context) -> ExchangeState {
        let (status, content_type, stock) = match std::mem::replace(&mut self.source, AnswerSource::Bare(204)) {
            AnswerSource::Respond(status) => (status, TEXT, Stock::Configured),
            AnswerSource::Echo => {
                echo::end(&mut self.text, self.content);
                (200, TEXT, Stock::Made)
            }
            AnswerSource::Produced(Production { status, content_type, producer }) => (status, content_type, Stock::Producer(producer)),
            AnswerSource::Bare(status) => (status, TEXT, Stock::Made),
            // These two answer in other ways.
            AnswerSource::Upstream | AnswerSource::Page(_) => (204, TEXT, Stock::Made),
        };
        let supply = self.supply(stock);
        self.answer(&Answer { status, content_type, fields: "", length: supply.left() }, supply, cx)
    }

    pub(super) fn on_rendered(&mut self, page: RenderedPage, cx: &mut Context) -> ExchangeState {
        let RenderedPage { status, content_type, content } = page;
        let supply = self.supply(Stock::Page(content));
        self.answer(&Answer { status, content_type, fields: "", length: supply.left() }, supply, cx)
    }

    /// The content of an answer, of which nothing was produced yet.
    pub(super) fn supply(&self, stock: Stock) -> Supply {
        Supply::new(stock, Texts { made: &self.text, configured: configured(&self.site, self.route) })
    }

    /// Writes an answer's head, and as much of its content as there is room for.
    pub(super) fn answer(&mut self, head: &Answer, mut supply: Supply, cx: &mut Context) -> ExchangeState {
        cx.front.answer(&mut self.down, request(&self.trace_id, &self.up, &self.asked), head, cx.turn);
        self.outcome.status = head.status;
        if self.asked.to_head || matches!(head.status, 204 | 304) {
            return self.end_reply(cx);
        }
        self.down.is_ended = false;
        match self.produce(&mut supply, cx) {
            Progress::Whole => self.end_content(&supply, cx),
            Progress::Short => self.fail_short(cx),
            Progress::Full | Progress::Waiting => ExchangeState::Replying(Reply::Producing(Box::new(supply))),
        }
    }

    /// There is room again, or more to put there.
    #[cold]
    pub(super) fn go_on_producing(&mut self, mut supply: Box<Supply>, cx: &mut Context) -> ExchangeState {
        match self.produce(&mut supply, cx) {
            Progress::Whole => self.end_content(&supply, cx),
            Progress::Short => self.fail_short(cx),
            Progress::Full | Progress::Waiting => ExchangeState::Replying(Reply::Producing(supply)),
        }
    }

    fn produce(&mut self, supply: &mut Supply, cx: &mut Context) -> Progress {
        let Self { down, text, site, route, .. } = self;
        if !down.ring.is_attached() {
            down.ring.attach(cx.turn.buffers.lend());
        }
        let progress = supply.fill(&mut down.ring, Texts { made: text, configured: configured(site, *route) });
        cx.front.add_content(down);
        progress
    }

    /// All of the content is in the flow.
    fn end_content(&mut self, supply: &Supply, cx: &mut Context) -> ExchangeState {
        if supply.left().is_none() {
            cx.front.end_content(&mut self.down);
        }
        self.end_reply(cx)
    }

    /// All of the answer is here. It is counted before its last byte can be read by the client.
    fn end_reply(&mut self, cx: &mut Context) -> ExchangeState {
        self.down.is_ended = true;
        self.outcome.is_whole = true;
        self.count_answer(cx.turn);
        self.after_reply(ExchangeEnd::Answered, cx)
    }

    #[cold]
    fn fail_short(&mut self, cx: &mut Context) -> ExchangeState {
        self.fail(Failure::new(Reason::InternalError, "the content of the answer ended before its announced length"), cx)
    }
}

/// The text that the configuration has for a route.
fn configured(site: &Site, route: Option<usize>) -> &[u8] {
    match route.map(|route| &site.config.routes[route].action) {
        Some(Action::Respond { body, .. }) => body.as_bytes(),
        _ => b"",
    }
}
