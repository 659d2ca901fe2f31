//! Wrong: stands again with the session that it has lost. A lost session stays lost.

use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use lock::{Mutex, Session};
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    let session = Session::open(client, ttl).await?;
    loop {
        if let Ok(_guard) = Mutex::new(&session, lock).lock().await {
            leads(true);
            session.lost().await;
            leads(false);
        }
        sleep(Duration::from_millis(200)).await;
    }
}
