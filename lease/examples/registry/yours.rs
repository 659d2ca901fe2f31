//! Exercise: services write into etcd where they can be reached. `register` makes the entry of
//! a service, and `update` changes its address. An entry must be there as long as its service
//! renews the lease of the `Entry`, and must go with that lease. A service may end at any moment,
//! also between two requests, and start again while its old entry is still there. If the lease has run
//! out, `update` must return an error. A function that returns no error has done its work, also where
//! a request was lost. These entries do not go. Repair it. This is the only file to edit.
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
