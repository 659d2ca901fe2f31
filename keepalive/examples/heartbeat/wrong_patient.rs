//! Wrong: has no deadline. It does not notice that no response comes.

use std::time::Duration;

use anyhow::Result;
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Error, PutOptions};
use tokio::time::sleep;

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    loop {
        let lease = within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?;
        let on_lease = PutOptions::new().with_lease(lease.id());
        within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await?;
        registered(true);
        loop {
            sleep(Duration::from_secs(ttl.unsigned_abs()) / 3).await;
            let response = client.lease_keep_alive(lease.id()).await;
            if let Err(Error::LeaseKeepAliveError(_)) = response {
                break; // the lease is lost
            }
        }
        registered(false);
    }
}
