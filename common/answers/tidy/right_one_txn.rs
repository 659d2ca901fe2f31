//! Right: deletes all jobs that are done in one transaction, and starts over if one of them has
//! changed.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};

pub async fn tidy(client: &mut Client, folder: &str) -> Result<i64> {
    loop {
        let below = GetOptions::new().with_prefix();
        let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
            .await
            .context("get failed")?;
        let done: Vec<_> = jobs.kvs().iter().filter(|job| job.value() == b"done").collect();
        let unchanged = |job: &&etcd_client::KeyValue| {
            Compare::mod_revision(job.key(), CompareOp::Equal, job.mod_revision())
        };
        let delete = Txn::new()
            .when(done.iter().map(unchanged).collect::<Vec<_>>())
            .and_then(done.iter().map(|job| TxnOp::delete(job.key(), None)).collect::<Vec<_>>());
        let response = within(REQUEST_TIMEOUT, client.txn(delete)).await.context("txn failed")?;
        if response.succeeded() {
            return Ok(done.len() as i64);
        }
    }
}
