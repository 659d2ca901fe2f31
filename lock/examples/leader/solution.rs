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
        sleep(Duration::from_millis(200)).await; // not to ask without a pause
    }
}

/// Waits for the lock and leads, until the session is lost. Each time it takes a new session:
/// a lost one stays lost.
async fn until_lost(
    client: &Client,
    lock: &str,
    ttl: Duration,
    leads: &impl Fn(bool),
) -> Result<()> {
    let session = Session::open(client, ttl).await?;
    let _held = Mutex::new(&session, lock).lock().await?;
    leads(true);
    // Without an answer of etcd for a TTL the session is lost, too: by its own clock, and
    // before etcd lets the next one have the lock.
    session.lost().await;
    leads(false);
    Ok(())
}
