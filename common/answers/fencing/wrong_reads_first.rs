//! Wrong: reads the number before it takes the lock, so another writer can write in between.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn, TxnOp};
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;
    let guard = Mutex::new(session, lock).lock().await?;
    let more = (number + 1).to_string();
    let put = Txn::new().when([guard.is_owner()]).and_then([TxnOp::put(key, more, None)]);
    let response = within(REQUEST_TIMEOUT, client.txn(put)).await?;
    guard.unlock().await?;
    Ok(response.succeeded())
}
