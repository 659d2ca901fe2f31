//! Exercise: a service stays registered as long as it runs, with an entry on a lease. `stay`
//! makes the entry and renews the lease. It calls `registered` to say whether others find the
//! entry. But it still says so when the entry is gone. Repair it. It must stay registered when
//! a renewal is 0.6 s late, and when the server is restarted. It must never say that it is
//! registered when it may not be. It must register again when it can. While the lease lives, the
//! entry must not be put again. Between two renewals, and between two attempts, it must pause.
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
