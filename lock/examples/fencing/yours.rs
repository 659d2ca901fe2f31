//! Exercise: two writers add to one number in etcd, both under the same lock. `add` adds 1 to the
//! number in `key`. It trusts the lock, but a writer that is paused can lose the lock without
//! noticing, and then it still writes. Fix `add` so that:
//!
//! - No addition must be lost, and none must be made twice, whenever the pause comes.
//! - `add` must return `true` if it has added, `false` if it hasn't, and an error if it can't know.
//! - Without a pause, and if nobody else uses the lock, `add` must add 1.
//! - `add` must free the lock when it is done.
//! - If the value is not a number, `add` must return an error and leave the value alone.
//! - The number must stay in etcd when the session ends.
//! - `add` must not wait longer than 3 s for a response that was lost.
//!
//! A writer that has lost the lock doesn't have to try again: it can return `false`. This is the
//! only file to edit.
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
