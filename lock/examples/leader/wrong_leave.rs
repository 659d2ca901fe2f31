//! Wrong: it knows that it does not lead any more, and does not stand again.

use std::future::pending;
use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use lock::{Mutex, Session};

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    let session = Session::open(client, ttl).await?;
    let guard = Mutex::new(&session, lock).lock().await?;
    leads(true);
    session.lost().await;
    leads(false);
    drop(guard);
    pending().await
}
