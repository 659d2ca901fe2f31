//! Wrong: as the chapter's program, it ends when a renewal fails.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
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
    let (mut keeper, mut responses) =
        within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await?;
    registered(true);
    loop {
        sleep(Duration::from_secs(ttl.unsigned_abs()) / 3).await;
        let sent = within(REQUEST_TIMEOUT, keeper.keep_alive()).await;
        match within(REQUEST_TIMEOUT, responses.message()).await {
            Ok(response) if sent.is_ok() => {
                ensure!(response.is_some_and(|response| response.ttl() > 0), "the lease is lost");
            }
            _ => bail!("a renewal failed"),
        }
    }
}
