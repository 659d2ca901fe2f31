//! Right: one stream for all renewals, as in the chapter, and a deadline around it.

use std::time::Duration;

use anyhow::{Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};
use tokio::time::{Instant, sleep, timeout_at};

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    loop {
        let _ = register_and_renew(client, key, ttl, &registered).await;
        registered(false);
        sleep(Duration::from_millis(100)).await;
    }
}

async fn register_and_renew(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: &impl Fn(bool),
) -> Result<()> {
    let mut sent = Instant::now();
    let lease = within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?.id();
    let on_lease = PutOptions::new().with_lease(lease);
    within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await?;
    registered(true);

    let ttl = Duration::from_secs(ttl.unsigned_abs());
    let mut end = sent + ttl;
    loop {
        if let Ok((mut keeper, mut responses)) =
            timeout_at(end, client.lease_keep_alive(lease)).await?
        {
            loop {
                sent = Instant::now();
                let renewal = async {
                    keeper.keep_alive().await?;
                    responses.message().await
                };
                let Ok(Some(response)) = timeout_at(end, renewal).await? else {
                    break;
                };
                ensure!(response.ttl() > 0, "the lease is lost");
                end = sent + ttl;
                sleep(ttl / 3).await;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
