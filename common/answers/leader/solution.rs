//! One right answer to the exercise `leader`.

use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use lock::{Mutex, Session};
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    loop {
        if let Err(error) = until_lost(client, lock, ttl, &leads).await {
            eprintln!("not a candidate: {error:#}");
        }
        sleep(Duration::from_millis(200)).await; // a refused request may fail at once
    }
}

/// Waits for the lock and leads until the session is lost. A lost session stays lost, so each
/// attempt opens a new one.
async fn until_lost(
    client: &Client,
    lock: &str,
    ttl: Duration,
    leads: &impl Fn(bool),
) -> Result<()> {
    let session = Session::open(client, ttl).await?;
    let _guard = Mutex::new(&session, lock).lock().await?;
    leads(true);
    // If no response comes for a TTL, the session is lost by its own clock, before etcd gives the
    // lock to the next candidate.
    session.lost().await;
    leads(false);
    Ok(())
}
