//! One right answer to the exercise `heartbeat`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Error, PutOptions};
use tokio::time::{Instant, sleep, timeout_at};

pub async fn stay(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: impl Fn(bool),
) -> Result<()> {
    loop {
        if let Err(error) = until_lost(client, key, ttl, &registered).await {
            eprintln!("not registered: {error:#}");
        }
        registered(false);
        sleep(Duration::from_millis(200)).await; // not to ask without a pause
    }
}

/// Registers and renews, until the lease is gone or may be.
async fn until_lost(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: &impl Fn(bool),
) -> Result<()> {
    // A TTL counts from the sending: who counts from the answer believes too long.
    let mut sent = Instant::now();
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put(key, "here", Some(on_lease))).await.context("put failed")?;
    registered(true);

    let ttl = Duration::from_secs(lease.ttl().unsigned_abs());
    let mut end = sent + ttl;
    loop {
        sleep(ttl / 3).await;
        sent = Instant::now();
        // This renews once and reads the answer, on a stream of its own: nothing has
        // to be replaced when the server has been restarted.
        match timeout_at(end, client.lease_keep_alive(lease.id())).await {
            Ok(Ok(_)) => end = sent + ttl,
            Ok(Err(Error::LeaseKeepAliveError(reason))) => bail!("{reason}"),
            Ok(Err(_)) if Instant::now() < end => {} // out of reach: there is time to try again
            _ => bail!("no answer for {ttl:?}"),
        }
    }
}
