//! One right answer to the exercise `roster`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, is_refusal, within};
use etcd_client::{Client, EventType, GetOptions, WatchOptions};
use tokio::time::sleep;

pub type Board = BTreeMap<String, String>;

pub async fn show(client: &mut Client, class: &str, mut draw: impl FnMut(&Board)) -> Result<()> {
    loop {
        // Whatever has ended the watch, a new list helps: it needs no history.
        let end = follow(client, class, &mut draw).await;
        if let Err(error) = end {
            if is_refusal(&error) {
                return Err(error); // The next attempt would be refused, too.
            }
            eprintln!("{error:#}; listing again");
        }
        sleep(Duration::from_millis(100)).await; // Without it, we would ask in a busy loop.
    }
}

async fn follow(client: &mut Client, class: &str, draw: &mut impl FnMut(&Board)) -> Result<()> {
    let below = GetOptions::new().with_prefix();
    let found =
        within(REQUEST_TIMEOUT, client.get(class, Some(below))).await.context("get failed")?;
    // A new board, because students who left in the meantime are not in the list.
    let mut board = Board::new();
    for kv in found.kvs() {
        board.insert(kv.key_str()?.to_owned(), kv.value_str()?.to_owned());
    }
    draw(&board);

    // The watch begins where the list ends, so nothing is missed, and nothing comes twice.
    let next = found.header().context("no header")?.revision() + 1;
    let from = WatchOptions::new().with_prefix().with_start_revision(next).with_fragment();
    let mut stream =
        within(REQUEST_TIMEOUT, client.watch(class, Some(from))).await.context("watch failed")?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        ensure!(!response.canceled(), "the watch was cancelled");
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            match event.event_type() {
                EventType::Put => board.insert(kv.key_str()?.into(), kv.value_str()?.into()),
                EventType::Delete => board.remove(kv.key_str()?),
            };
        }
        draw(&board);
    }
    Ok(())
}
