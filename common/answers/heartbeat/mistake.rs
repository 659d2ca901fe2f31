//! Exercise: a service keeps an entry in etcd, and calls `registered` to say whether others can
//! find it there. But when the entry is gone, `stay` goes on saying that it is there. It should
//! keep the service registered as long as it can, and know when the service isn't. Fix `stay` so
//! that:
//!
//! - it puts the entry on a lease with the TTL `ttl`, and says `registered(true)` once etcd has
//!   carried out the put;
//! - as long as that lease lives, it renews the lease and asks for no other one. It doesn't put the
//!   entry again, because that would wake everyone who watches it;
//! - it keeps the lease even if one renewal is 0.6 s late, one renewal fails, or the server is
//!   restarted;
//! - it says `registered(false)` as soon as the lease may have run out, even if no response says
//!   so;
//! - it registers again within 3 s once the lease is lost and etcd can be reached;
//! - it pauses for at least 10 ms between two renewals, and between two attempts to register;
//! - it never returns.
//!
//! This is the only file to edit.
//!
//! ```text
//! cargo run -p keepalive --example heartbeat            tries this file
//! cargo run -p keepalive --example heartbeat -- hint
//! ```

use std::time::Duration;

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};
use tokio::time::sleep;

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await.context("put failed")?;
    let (mut keeper, _responses) = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id()))
        .await
        .context("keep-alive failed")?;
    registered(true);
    loop {
        sleep(Duration::from_secs(lease.ttl().unsigned_abs()) / 3).await;
        // A renewal that fails does no harm: there is time for two more.
        let _ = within(REQUEST_TIMEOUT, keeper.keep_alive()).await;
    }
}
