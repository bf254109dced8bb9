//! The helper thread: pages of the admin port, which may take long. Each is made once for all who wait for it, and for nobody
//! where all of them have left.

use crate::admin::Page;
use crate::worker::shared::{Mail, RenderJob, Shared};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Until nobody can ask any more.
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
            let rendered = shared.panel.render(*page, site);
            for RenderJob { ticket, .. } in &group {
                shared.mailboxes[ticket.worker].post(Mail::Rendered { ticket: *ticket, page: Box::new(rendered.clone()) });
            }
        }
    }
}

/// Takes out all jobs for one and the same page, and drops those whose asker has left. The page that comes first in its order is
/// next, unless it was the last while others wait.
fn take_next(waiting: &mut Vec<RenderJob>, last: Option<Page>) -> Vec<RenderJob> {
    waiting.retain(|job| job.asker.strong_count() > 0);
    let Some(first) = waiting.iter().min_by_key(|job| (Some(job.page) == last, job.page)) else { return Vec::new() };
    let (page, site) = (first.page, first.site.clone());
    waiting.extract_if(.., |job| job.page == page && Arc::ptr_eq(&job.site, &site)).collect()
}
