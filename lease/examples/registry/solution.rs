//! One right answer to the exercise `registry`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};

use crate::Entry;

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
    // A put says which lease the key is on from now on; to say none takes it off. Another
    // right answer is `with_ignore_lease`: on the one that it is on.
    let on_lease = PutOptions::new().with_lease(entry.lease);
    within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease)))
        .await
        .context("put failed")?;
    Ok(())
}
