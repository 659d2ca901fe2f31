//! Right: takes nothing from the events, but lists again after each response that has some.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions, WatchOptions};
use tokio::time::sleep;

pub type Board = BTreeMap<String, String>;

pub async fn show(client: &mut Client, class: &str, mut draw: impl FnMut(&Board)) -> Result<()> {
    loop {
        let _ = until_lost(client, class, &mut draw).await;
        sleep(Duration::from_millis(100)).await;
    }
}

async fn until_lost(client: &mut Client, class: &str, draw: &mut impl FnMut(&Board)) -> Result<()> {
    let next = list(client, class, draw).await? + 1;
    let from = WatchOptions::new().with_prefix().with_start_revision(next);
    let mut stream = within(REQUEST_TIMEOUT, client.watch(class, Some(from))).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        ensure!(!response.canceled(), "the watch was cancelled");
        if !response.events().is_empty() {
            list(client, class, draw).await?;
        }
    }
    Ok(())
}

/// Draws the list, and returns its revision.
async fn list(client: &mut Client, class: &str, draw: &mut impl FnMut(&Board)) -> Result<i64> {
    let below = GetOptions::new().with_prefix();
    let found = within(REQUEST_TIMEOUT, client.get(class, Some(below))).await?;
    let entry = |kv: &etcd_client::KeyValue| Ok((kv.key_str()?.into(), kv.value_str()?.into()));
    draw(&found.kvs().iter().map(entry).collect::<Result<_>>()?);
    Ok(found.header().context("no header")?.revision())
}
