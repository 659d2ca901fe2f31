//! One right answer to the exercise `fencing`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn, TxnOp};
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let guard = Mutex::new(session, lock).lock().await?;

    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;

    // etcd checks in the same step as the write that the lock is ours, so no pause can come in
    // between. While it is ours, nobody else writes under this lock.
    let more = (number + 1).to_string();
    let put = Txn::new().when([guard.is_owner()]).and_then([TxnOp::put(key, more, None)]);
    let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;

    guard.unlock().await?;
    Ok(response.succeeded())
}
