//! Wrong: looks at each job again before it deletes it. Others can still be faster than the delete.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

pub async fn tidy(client: &mut Client, folder: &str) -> Result<i64> {
    let below = GetOptions::new().with_prefix();
    let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
        .await
        .context("get failed")?;
    let mut removed = 0;
    for job in jobs.kvs() {
        let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
        if now.kvs().first().is_some_and(|job| job.value() == b"done") {
            removed += within(REQUEST_TIMEOUT, client.delete(job.key(), None)).await?.deleted();
        }
    }
    Ok(removed)
}
