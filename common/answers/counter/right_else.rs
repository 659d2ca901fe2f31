//! Right: if the comparison is false, the same transaction gets the counter for the next attempt.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, TxnOpResponse};

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    let (mut number, mut revision) = (0i64, 0);
    loop {
        let put = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([TxnOp::put(key, (number + 1).to_string(), None)])
            .or_else([TxnOp::get(key, None)]);
        let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
        match response.op_responses().first() {
            Some(TxnOpResponse::Get(found)) => {
                let kv = found.kvs().first().context("there is no counter")?;
                (number, revision) = (kv.value_str()?.parse()?, kv.mod_revision());
            }
            _ => return Ok(()),
        }
    }
}
