//! One right answer to the exercise `tidy`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};

pub async fn tidy(client: &mut Client, folder: &str) -> Result<i64> {
    // The slash keeps out keys such as `jobs-old/1`.
    let below = GetOptions::new().with_prefix();
    let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
        .await
        .context("get failed")?;

    let mut removed = 0;
    for job in jobs.kvs() {
        if job.value() == b"done" {
            // etcd deletes the job only if it has not changed since the get.
            let delete = Txn::new()
                .when([Compare::mod_revision(job.key(), CompareOp::Equal, job.mod_revision())])
                .and_then([TxnOp::delete(job.key(), None)]);
            let response =
                within(REQUEST_TIMEOUT, client.txn(delete)).await.context("txn failed")?;
            removed += i64::from(response.succeeded());
        }
    }
    Ok(removed)
}
