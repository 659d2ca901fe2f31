//! One right answer to the exercise `counter`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    loop {
        let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
        let kv = found.kvs().first().context("there is no counter")?;
        let number: i64 = kv.value_str()?.parse()?;

        // etcd puts this only if the counter has not changed since the get.
        let more = (number + 1).to_string();
        let put = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())])
            .and_then([TxnOp::put(key, more, None)]);
        let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
        if response.succeeded() {
            return Ok(());
        }
        // Another client was faster, so nothing was put. Of all clients that try at the same time
        // one succeeds, so each of them gets its turn.
    }
}
