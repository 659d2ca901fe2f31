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
        sleep(Duration::from_millis(200)).await; // a refused request fails at once
    }
}

/// Registers and renews until the lease is lost, or may be.
async fn until_lost(
    client: &mut Client,
    key: &str,
    ttl: i64,
    registered: &impl Fn(bool),
) -> Result<()> {
    // The TTL counts from when the request was sent. Counted from the response, it would end later
    // here than in etcd.
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
        // Each renewal opens a new stream, so no stream has to be replaced after a restart.
        match within(end - sent, client.lease_keep_alive(lease.id())).await {
            Ok(_) => end = sent + ttl,
            Err(error) if is_refusal(&error) || Instant::now() >= end => return Err(error),
            Err(_) => {} // etcd is out of reach, but there is time for another renewal
        }
    }
}
