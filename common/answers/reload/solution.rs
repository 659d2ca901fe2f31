//! One right answer to the exercise `reload`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, is_refusal, within};
use etcd_client::{Client, WatchOptions};
use tokio::time::sleep;

pub async fn follow(client: &mut Client, key: &str, mut apply: impl FnMut(&str)) -> Result<()> {
    // The revision to watch from. 0 means that there is none yet: get the value first.
    let mut next = 0;
    loop {
        let end = follow_from(&mut next, client, key, &mut apply).await;
        if let Err(error) = end {
            if is_refusal(&error) {
                return Err(error); // etcd would refuse it again
            }
            eprintln!("{error:#}; watching again");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn follow_from(
    next: &mut i64,
    client: &mut Client,
    key: &str,
    apply: &mut impl FnMut(&str),
) -> Result<()> {
    if *next == 0 {
        let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
        for kv in found.kvs() {
            apply(kv.value_str()?);
        }
        // The revision of the store at the get. The key's own may be older than the history.
        *next = found.header().context("no header")?.revision() + 1;
    }
    // In fragments, because what was missed may be more than the client takes in one response.
    let from = WatchOptions::new().with_start_revision(*next).with_fragment();
    let mut stream =
        within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await.context("watch failed")?;
    // No limit, because the next change may come at any time.
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        if response.compact_revision() > 0 {
            *next = 0; // etcd no longer has the revisions from `next` on
        }
        ensure!(!response.canceled(), "the watch was canceled");
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            apply(kv.value_str()?);
            *next = kv.mod_revision() + 1;
        }
    }
    Ok(())
}
