//! Waiting until a key is deleted.

use anyhow::{Result, ensure};
use etcd_client::{Client, EventType, WatchOptions};

use crate::connect::reconnect;
use crate::error::none_if_transient;
use crate::within::{NO_LIMIT, REQUEST_TIMEOUT, within};

/// Waits until etcd has deleted `key`, without a limit. The chapter `watch` explains the parts.
///
/// # Errors
///
/// - etcd cannot be reached for [`CONNECT_TIMEOUT`](crate::CONNECT_TIMEOUT).
/// - etcd refuses a request or cancels the watch, twice in a row.
/// - The key is not on a lease, or was put again without one: nothing will delete it.
pub async fn deleted(client: &mut Client, key: &str) -> Result<()> {
    let mut failed = false;
    loop {
        match watch_deletion(client, key).await {
            Ok(true) => return Ok(()),
            // The second error came on a new connection, so a third attempt would fail, too.
            Err(error) if failed => return Err(error),
            ended => failed = ended.is_err(),
        }
        reconnect(client).await?;
    }
}

/// Returns true as soon as etcd has deleted `key`, and false if the stream is lost before.
async fn watch_deletion(client: &mut Client, key: &str) -> Result<bool> {
    let response = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let Some(kv) = response.kvs().first() else {
        return Ok(true);
    };
    ensure!(kv.lease() != 0, "the key {key} is not on a lease, so etcd will not delete it");
    // Begin with the revision after the get, so that no change falls between the get and the watch.
    let next = response.header().map_or(0, |header| header.revision() + 1);
    let from = WatchOptions::new().with_start_revision(next).with_fragment();
    let mut stream = within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await?;
    while let Some(Some(response)) = none_if_transient(within(NO_LIMIT, stream.message()).await)? {
        let start = response.compact_revision();
        ensure!(start == 0, "revision {next} is compacted: history begins at {start}");
        ensure!(!response.canceled(), "watch canceled: {}", response.cancel_reason());
        for event in response.events() {
            let on_lease = event.kv().is_some_and(|kv| kv.lease() != 0);
            match event.event_type() {
                EventType::Delete => return Ok(true),
                EventType::Put => ensure!(
                    on_lease,
                    "the key {key} was put without a lease, so etcd will not delete it"
                ),
            }
        }
    }
    Ok(false)
}
