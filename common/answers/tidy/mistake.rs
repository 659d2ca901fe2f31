//! Exercise: below `folder`, for instance `jobs`, there are the keys `jobs/1`, `jobs/2` and so on.
//! `tidy` deletes the jobs whose value is `done`, but others restart some of them in the meantime,
//! and `tidy` deletes these, too. It should delete only what is done. Fix `tidy` so that:
//!
//! - it deletes a job only if the job is `done` at that very moment;
//! - it deletes no key outside the folder, such as `jobs-old/1`, and puts nothing;
//! - it deletes each job that stays `done`, even if other jobs change: that isn't an error;
//! - it returns how many jobs it has deleted itself;
//! - if a request or its response gets lost, it returns within 5 s, with an error if it can't know
//!   that number.
//!
//! This is the only file to edit.
//!
//! ```text
//! cargo run -p delete --example tidy            tries this file
//! cargo run -p delete --example tidy -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

pub async fn tidy(client: &mut Client, folder: &str) -> Result<i64> {
    let below = GetOptions::new().with_prefix();
    let jobs =
        within(REQUEST_TIMEOUT, client.get(folder, Some(below))).await.context("get failed")?;

    let mut removed = 0;
    for job in jobs.kvs() {
        if job.value() == b"done" {
            let gone = within(REQUEST_TIMEOUT, client.delete(job.key(), None))
                .await
                .context("delete failed")?;
            removed += gone.deleted();
        }
    }
    Ok(removed)
}
