//! Exercise: services write their addresses into etcd, where others look them up. `register` makes
//! the entry of a service, and `update` changes its address. One of the two has a mistake, so
//! entries stay after their services have ended. But an entry must disappear when its service no
//! longer renews the lease, and not before. Fix the functions so that:
//!
//! - `register` must put the entry on a new lease with the TTL that it is given. The caller renews
//!   this lease; your code must not.
//! - An entry must never be without its lease, because a service may end between two requests.
//! - The entry of a service that runs must never be missing, not even for a moment.
//! - When a service starts again, `register` must replace the entry of the earlier run.
//! - `update` must return an error if the lease has expired or if a later run has registered, and
//!   must then leave etcd as it is.
//! - `Ok` must mean that the work is done, even if a request was lost or arrives late.
//! - A function must not wait longer than 5 s for a response that was lost.
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
