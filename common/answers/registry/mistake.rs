//! Exercise: services write their addresses into etcd, where others look them up. `register` makes
//! the entry of a service, and `update` changes its address. One of the two is wrong: entries stay
//! after their services have ended. An entry must disappear when its service no longer renews the
//! lease, and not before. Fix the functions so that:
//!
//! - `register` puts the entry on a new lease with the given TTL;
//! - your code doesn't renew this lease, because the caller does;
//! - an entry is never without its lease, because a service may end between two requests;
//! - the entry of a service that runs is never missing, not even for a moment;
//! - when a service starts again, `register` replaces the entry of the earlier run;
//! - `update` returns an error and changes nothing if the lease has expired, or if a later run has
//!   registered;
//! - after `Ok`, the work is done and stays done, even if a request is lost or arrives late;
//! - no call waits longer than 5 s for a response that was lost.
//!
//! This is the only file to edit.
//!
//! ```text
//! cargo run -p lease --example registry            tries this file
//! cargo run -p lease --example registry -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};

use super::experiment::Entry;

pub async fn register(client: &mut Client, key: String, address: &str, ttl: i64) -> Result<Entry> {
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
        .await
        .context("put failed")?;
    Ok(Entry { key, lease: lease.id() })
}

pub async fn update(client: &mut Client, entry: &Entry, address: &str) -> Result<()> {
    within(REQUEST_TIMEOUT, client.put(&*entry.key, address, None)).await.context("put failed")?;
    Ok(())
}
