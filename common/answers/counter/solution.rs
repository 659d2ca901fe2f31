//! One right answer to the exercise `counter`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    loop {
        let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
        let kv = found.kvs().first().context("there is no counter")?;
        let number: i64 = kv.value_str()?.parse()?;

        // The put takes place only if this is still the number that was read.
        let more = (number + 1).to_string();
        let put = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())])
            .and_then([TxnOp::put(key, more, None)]);
        let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
        if response.succeeded() {
            return Ok(());
        }
        // Another client was faster, so nothing was put. In each round one client succeeds, so
        // this comes to an end.
    }
}
