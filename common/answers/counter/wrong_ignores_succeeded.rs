//! Wrong: the transaction is right, but the code never checks whether it has put anything.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no counter")?;
    let number: i64 = kv.value_str()?.parse()?;
    let put = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())])
        .and_then([TxnOp::put(key, (number + 1).to_string(), None)]);
    within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
    Ok(())
}
