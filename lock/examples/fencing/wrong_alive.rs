//! Wrong: asks just before it writes. The pause comes just after that.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let guard = Mutex::new(session, lock).lock().await?;
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;
    if !session.is_alive() {
        return Ok(false);
    }
    within(REQUEST_TIMEOUT, client.put(key, (number + 1).to_string(), None)).await?;
    guard.unlock().await?;
    Ok(true)
}
