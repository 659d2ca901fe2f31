//! Right: has no session, but a lease of its own, with one stream for all renewals.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, LockOptions};
use tokio::time::{Instant, sleep, timeout_at};

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    loop {
        let _ = until_lost(client, lock, ttl, &leads).await;
        leads(false);
        sleep(Duration::from_millis(200)).await;
    }
}

async fn until_lost(
    client: &Client,
    lock: &str,
    ttl: Duration,
    leads: &impl Fn(bool),
) -> Result<()> {
    let mut client = client.clone();
    let mut end = Instant::now() + ttl;
    let grant = client.lease_grant(ttl.as_secs() as i64, None);
    let lease = within(REQUEST_TIMEOUT, grant).await?.id();
    let (mut keeper, mut responses) =
        within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await?;
    let renew = async {
        loop {
            sleep(ttl / 3).await;
            let sent = Instant::now();
            let renewal = async {
                keeper.keep_alive().await?;
                responses.message().await
            };
            let response = timeout_at(end, renewal).await??.context("the stream has ended")?;
            ensure!(response.ttl() > 0, "the lease is lost");
            end = sent + ttl;
        }
    };
    let lead = async {
        // Without a limit, but not for longer than the lease lives.
        let on_lease = LockOptions::new().with_lease(lease);
        within(NO_LIMIT, client.lock(lock, Some(on_lease))).await?;
        leads(true);
        std::future::pending().await
    };
    tokio::select! {
        biased;
        lost = renew => lost,
        failed = lead => failed,
    }
}
