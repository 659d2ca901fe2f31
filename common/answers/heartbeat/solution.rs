//! One right answer to the exercise `heartbeat`.

use std::time::Duration;

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, is_refusal, within};
use etcd_client::{Client, PutOptions};
use tokio::time::{Instant, sleep};

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
        sleep(Duration::from_millis(200)).await; // a pause between two attempts
    }
}

/// Registers and renews, until the lease is gone or may be.
async fn until_lost(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: &impl Fn(bool),
) -> Result<()> {
    // The TTL counts from the moment when the request was sent. Counted from the response, it would
    // end here later than at etcd.
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
        // Renews once and reads the response, each time on a new stream: none has to be replaced
        // when the server has been restarted.
        match within(end - sent, client.lease_keep_alive(lease.id())).await {
            Ok(_) => end = sent + ttl,
            Err(error) if is_refusal(&error) || Instant::now() >= end => return Err(error),
            Err(_) => {} // out of reach, and there is time for another renewal
        }
    }
}
