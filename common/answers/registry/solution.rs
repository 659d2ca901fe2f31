//! One right answer to the exercise `registry`.

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};

use super::experiment::Entry;

pub async fn register(client: &mut Client, key: String, address: &str, ttl: i64) -> Result<Entry> {
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
        .await
        .context("put failed")?;
    Ok(Entry { key, lease: lease.id() })
}

pub async fn update(client: &mut Client, entry: &Entry, address: &str) -> Result<()> {
    // Each put decides anew which lease the key is on: without a lease, it takes the key off.
    let on_lease = PutOptions::new().with_lease(entry.lease);
    // If our lease has expired, or a later run has registered, the key is no longer on our lease.
    let put = Txn::new()
        .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)])
        .and_then([TxnOp::put(&*entry.key, address, Some(on_lease))]);
    let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
    ensure!(response.succeeded(), "the entry is no longer ours");
    Ok(())
}
