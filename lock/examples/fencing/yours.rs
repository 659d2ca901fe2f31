//! Exercise: two writers add to one number in etcd, both under the same lock. `add` adds 1 to the
//! number in `key`. It trusts the lock. But a paused writer can lose the lock without noticing, and
//! it still writes. Fix `add` so that:
//!
//! - no addition is lost, and none is made twice, whenever the pause comes;
//! - `add` returns `true` if it has added 1, `false` if it hasn't, and an error if it can't know;
//! - it adds 1 if there is no pause and nobody else uses the lock;
//! - it frees the lock when it is done;
//! - it returns an error if the value isn't a number, and leaves the value as it is;
//! - the number stays in etcd when the session ends;
//! - it waits at most 3 s for a response that was lost.
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
