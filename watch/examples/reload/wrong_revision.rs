//! Wrong: when the stream has ended, it begins where it began at first.

use std::time::Duration;

use anyhow::{Context, Result};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, WatchOptions};
use tokio::time::sleep;

pub async fn follow(client: &mut Client, key: &str, mut apply: impl FnMut(&str)) -> Result<()> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    for kv in found.kvs() {
        apply(kv.value_str()?);
    }
    let next = found.header().context("no header")?.revision() + 1;
    loop {
        let from = WatchOptions::new().with_start_revision(next);
        if let Ok(mut stream) = within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await {
            while let Ok(Some(response)) = within(NO_LIMIT, stream.message()).await {
                for kv in response.events().iter().filter_map(|event| event.kv()) {
                    apply(kv.value_str()?);
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
