//! Exercise: of several candidates, the one that has the lock is the leader. `stand` is one
//! candidate. It calls `leads` to say whether it leads. But when it has said so once, it never
//! says the opposite. Repair it. There must never be two candidates that say so. When a leader
//! dies or is cut off, another one must lead, and not before. One that was cut off must stand
//! again when it is back. Between two attempts it must pause. This is the only file to edit.
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
    let _guard = Mutex::new(&session, lock).lock().await?;
    leads(true);
    // The session is renewed in the background: the lock is ours as long as this program runs.
    pending().await
}
