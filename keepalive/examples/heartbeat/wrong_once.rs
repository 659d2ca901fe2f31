//! Wrong: believes that this call goes on renewing, as Go's `KeepAlive` does.

use std::future::pending;

use anyhow::Result;
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    let lease = within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await?;
    let _kept = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await?;
    registered(true);
    pending().await
}
