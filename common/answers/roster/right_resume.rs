//! Right: watches again from the revision after the last event that it has seen, and lists again
//! only if that history was compacted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, GetOptions, WatchOptions};
use tokio::time::sleep;

pub type Board = BTreeMap<String, String>;

pub async fn show(client: &mut Client, class: &str, mut draw: impl FnMut(&Board)) -> Result<()> {
    let (mut board, mut next) = (Board::new(), 0);
    loop {
        let _ = follow(client, class, &mut board, &mut next, &mut draw).await;
        sleep(Duration::from_millis(100)).await;
    }
}

async fn follow(
    client: &mut Client,
    class: &str,
    board: &mut Board,
    next: &mut i64,
    draw: &mut impl FnMut(&Board),
) -> Result<()> {
    if *next == 0 {
        let below = GetOptions::new().with_prefix();
        let found = within(REQUEST_TIMEOUT, client.get(class, Some(below))).await?;
        board.clear();
        for kv in found.kvs() {
            board.insert(kv.key_str()?.to_owned(), kv.value_str()?.to_owned());
        }
        draw(board);
        *next = found.header().context("no header")?.revision() + 1;
    }
    let from = WatchOptions::new().with_prefix().with_start_revision(*next);
    let mut stream = within(REQUEST_TIMEOUT, client.watch(class, Some(from))).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        if response.compact_revision() > 0 {
            *next = 0;
        }
        ensure!(!response.canceled(), "the watch was cancelled");
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            match event.event_type() {
                EventType::Put => board.insert(kv.key_str()?.into(), kv.value_str()?.into()),
                EventType::Delete => board.remove(kv.key_str()?),
            };
            *next = kv.mod_revision() + 1;
        }
        draw(board);
    }
    Ok(())
}
