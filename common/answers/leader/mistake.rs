//! Exercise: several candidates want to lead, and whoever has the lock is the leader. `stand` runs
//! one candidate, and calls `leads` to say whether it leads. But a leader that has lost the lock
//! goes on saying that it leads. Fix `stand` so that:
//!
//! - no two candidates say at the same time that they lead;
//! - a leader goes on leading while its session lives, and says `leads(false)` within 0.2 s after
//!   the session is lost;
//! - another candidate leads within 6 s when the leader dies or is cut off (for that, its lock is
//!   on a lease with the TTL `ttl`);
//! - a candidate that was cut off stands again within 6 s of getting its network back;
//! - it pauses for at least 10 ms between two attempts to become the leader;
//! - it never returns.
//!
//! This is the only file to edit.
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
