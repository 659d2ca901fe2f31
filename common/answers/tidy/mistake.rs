//! Exercise: below `folder`, for instance `jobs`, there are the keys `jobs/1`, `jobs/2` and so
//! on. `tidy` deletes the jobs that are `done`, and returns how many it has deleted. But it
//! also deletes a job that is not done any more, and keys that are no jobs. Repair it: it must
//! delete nothing else. This is the only file to edit.
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
