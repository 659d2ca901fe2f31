//! Wrong: takes any response for a renewal.

use std::time::Duration;

use anyhow::Result;
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};
use tokio::time::sleep;

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    let lease = within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await?;
    let mut stream = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await;
    loop {
        if let Ok((keeper, responses)) = &mut stream
            && within(REQUEST_TIMEOUT, keeper.keep_alive()).await.is_ok()
            && within(REQUEST_TIMEOUT, responses.message())
                .await
                .is_ok_and(|response| response.is_some())
        {
            registered(true);
            sleep(Duration::from_secs(ttl.unsigned_abs()) / 3).await;
        } else {
            registered(false);
            sleep(Duration::from_millis(100)).await;
            if let Ok(other) = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await {
                stream = Ok(other);
            }
        }
    }
}
