//! The helper thread that renders the admin port's pages, which may take long. A page is rendered once for all who wait for it, and
//! not at all once they have left.

use crate::admin::AdminPage;
use crate::worker::shared::{Mail, RenderJob, Shared};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Runs until no more jobs can come.
pub(super) fn run(jobs: &Receiver<RenderJob>, shared: &Shared) {
    let mut waiting = Vec::new();
    let mut last = None;
    while let Ok(job) = jobs.recv() {
        waiting.push(job);
        while !waiting.is_empty() {
            waiting.extend(jobs.try_iter());
            let group = take_next(&mut waiting, last);
            let Some(RenderJob { page, site, .. }) = group.first() else { continue };
            last = Some(*page);
            let rendered = shared.admin.render(*page, site);
            for RenderJob { ticket, .. } in &group {
                shared.mailboxes[ticket.worker].post(Mail::Rendered { ticket: *ticket, page: Box::new(rendered.clone()) });
            }
        }
    }
}

/// Takes out all jobs for one page, and drops those whose client has left. Pages are taken in their order, but not the same page
/// twice in a row while others wait.
fn take_next(waiting: &mut Vec<RenderJob>, last: Option<AdminPage>) -> Vec<RenderJob> {
    waiting.retain(|job| job.asker.strong_count() > 0);
    let Some(first) = waiting.iter().min_by_key(|job| (Some(job.page) == last, job.page)) else { return Vec::new() };
    let (page, site) = (first.page, first.site.clone());
    waiting.extract_if(.., |job| job.page == page && Arc::ptr_eq(&job.site, &site)).collect()
}
