//! Wrong: doesn't use a lock. It waits until the leader's key is gone and puts its own, like every
//! other candidate that has waited.

use std::time::Duration;

use anyhow::{Context, Result};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, PutOptions, WatchOptions};
use lock::Session;
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    loop {
        if let Ok(session) = Session::open(client, ttl).await
            && put_when_free(client, lock, session.lease()).await.is_ok()
        {
            leads(true);
            session.lost().await;
            leads(false);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn put_when_free(client: &Client, lock: &str, lease: i64) -> Result<()> {
    let mut client = client.clone();
    let found = within(REQUEST_TIMEOUT, client.get(lock, None)).await?;
    if found.count() > 0 {
        let next = found.header().context("no header")?.revision() + 1;
        let from_next = WatchOptions::new().with_start_revision(next);
        let mut watch = within(REQUEST_TIMEOUT, client.watch(lock, Some(from_next))).await?;
        let mut gone = false;
        while !gone {
            let news = within(NO_LIMIT, watch.message()).await?.context("the watch has ended")?;
            gone = news.events().iter().any(|event| event.event_type() == EventType::Delete);
        }
    }
    let on_lease = PutOptions::new().with_lease(lease);
    within(REQUEST_TIMEOUT, client.put(lock, "", Some(on_lease))).await?;
    Ok(())
}
