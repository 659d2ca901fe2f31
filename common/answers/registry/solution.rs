//! One right answer to the exercise `registry`.

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
    // A put decides which lease the key is on from now on; without a lease it takes the key off.
    // `with_ignore_lease`, which keeps the lease of the key, is another right answer, as long as no
    // other run of the service has put the key on a lease of its own.
    let on_lease = PutOptions::new().with_lease(entry.lease);
    within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease)))
        .await
        .context("put failed")?;
    Ok(())
}
