//! Right: an event only says that something has changed. The code then gets the value.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, WatchOptions};
use tokio::time::sleep;

pub async fn follow(client: &mut Client, key: &str, mut apply: impl FnMut(&str)) -> Result<()> {
    loop {
        let _ = until_lost(client, key, &mut apply).await;
        sleep(Duration::from_millis(100)).await;
    }
}

async fn until_lost(client: &mut Client, key: &str, apply: &mut impl FnMut(&str)) -> Result<()> {
    let next = get(client, key, apply).await? + 1;
    let from = WatchOptions::new().with_start_revision(next);
    let mut stream = within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        ensure!(!response.canceled(), "the watch was canceled");
        if !response.events().is_empty() {
            get(client, key, apply).await?;
        }
    }
    Ok(())
}

/// Gets the value and applies it. Returns the revision of the store at the get.
async fn get(client: &mut Client, key: &str, apply: &mut impl FnMut(&str)) -> Result<i64> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    for kv in found.kvs() {
        apply(kv.value_str()?);
    }
    Ok(found.header().context("no header")?.revision())
}
