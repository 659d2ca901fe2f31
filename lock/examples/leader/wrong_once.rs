//! Wrong: one that was cut off tries to come back once, while it is still cut off.

use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use lock::{Mutex, Session};

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    loop {
        let session = Session::open(client, ttl).await?;
        let _guard = Mutex::new(&session, lock).lock().await?;
        leads(true);
        session.lost().await;
        leads(false);
    }
}
