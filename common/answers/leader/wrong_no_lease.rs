//! Wrong: the first candidate to create the key leads. But the key is not on a lease, so it stays
//! when that leader dies.

use std::time::Duration;

use anyhow::Result;
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    let mut client = client.clone();
    loop {
        let create = Txn::new()
            .when([Compare::create_revision(lock, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(lock, "", None)]);
        if within(REQUEST_TIMEOUT, client.txn(create)).await.is_ok_and(|done| done.succeeded()) {
            leads(true);
        }
        sleep(ttl / 10).await;
    }
}
