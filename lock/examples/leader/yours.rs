//! Exercise: of several candidates one is to be the leader, the one that has the lock. `stand`
//! is one candidate; it tells through `leads` whether it leads. But once it does it never stops
//! saying so. Repair it: there must never be two that say so, after the death of a leader
//! another one must lead, and a leader that was cut off must stand again when it is back. This
//! is the only file to edit.
//!
//! ```text
//! cargo run -p lock --example leader            tries this file
//! cargo run -p lock --example leader -- hint
//! ```

use std::future::pending;
use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use lock::{Mutex, Session};

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    let session = Session::open(client, ttl).await?;
    let _held = Mutex::new(&session, lock).lock().await?;
    leads(true);
    // The session is renewed in the background: the lock is ours for as long as we live.
    pending().await
}
