//! Wrong: asks etcd whether the lock is still ours, and then writes in another request. The pause
//! comes between the two.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn};
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let guard = Mutex::new(session, lock).lock().await?;
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;
    let ours = within(REQUEST_TIMEOUT, client.txn(Txn::new().when([guard.is_owner()]))).await?;
    if ours.succeeded() {
        within(REQUEST_TIMEOUT, client.put(key, (number + 1).to_string(), None)).await?;
    }
    guard.unlock().await?;
    Ok(ours.succeeded())
}
