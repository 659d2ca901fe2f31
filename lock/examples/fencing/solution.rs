//! One right answer to the exercise `fencing`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn, TxnOp};
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let held = Mutex::new(session, lock).lock().await?;

    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;

    // It is etcd that looks whether the lock is ours, in the same step as it writes: no pause
    // of ours comes in between. If it is, nobody has written since we read, under this lock.
    let more = (number + 1).to_string();
    let put = Txn::new().when([held.is_owner()]).and_then([TxnOp::put(key, more, None)]);
    let answer = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;

    held.unlock().await?;
    Ok(answer.succeeded())
}
