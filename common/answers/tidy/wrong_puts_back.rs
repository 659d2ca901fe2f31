//! Wrong: deletes first, and puts back a job that wasn't done. For a moment others find no job, and
//! what they put then gets overwritten.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, DeleteOptions, GetOptions};

pub async fn tidy(client: &mut Client, folder: &str) -> Result<i64> {
    let below = GetOptions::new().with_prefix();
    let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
        .await
        .context("get failed")?;
    let mut removed = 0;
    for job in jobs.kvs().iter().filter(|job| job.value() == b"done") {
        let with_value = DeleteOptions::new().with_prev_key();
        let gone = within(REQUEST_TIMEOUT, client.delete(job.key(), Some(with_value))).await?;
        match gone.prev_kvs().first() {
            Some(job) if job.value() == b"done" => removed += 1,
            Some(job) => {
                within(REQUEST_TIMEOUT, client.put(job.key(), job.value(), None)).await?;
            }
            None => (),
        }
    }
    Ok(removed)
}
