//! Exercise: two writers add to one number in etcd, each of them under the lock. `add` adds 1
//! to the number in `key`, and returns whether it has added. It trusts the lock. But a writer
//! that is paused can lose the lock without knowing it, and then it still writes. Repair it: no
//! addition may be lost, whenever the pause comes. This is the only file to edit.
//!
//! ```text
//! cargo run -p lock --example fencing            tries this file
//! cargo run -p lock --example fencing -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;
use lock::{Mutex, Session};

pub async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool> {
    let guard = Mutex::new(session, lock).lock().await?;

    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no number")?;
    let number: i64 = kv.value_str()?.parse()?;

    let more = (number + 1).to_string();
    within(REQUEST_TIMEOUT, client.put(key, more, None)).await.context("put failed")?;

    guard.unlock().await?;
    Ok(true)
}
