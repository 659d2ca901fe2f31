//! Exercise: a program keeps its configuration in a key. `follow` runs as long as the program: it
//! calls `apply` with the value that it finds, and then with each new one, but it misses changes.
//! The program should always have the newest value. Fix `follow` so that:
//!
//! - it applies the newest value within 3 s after the put, or after it can reach etcd again;
//! - it applies no older value after a newer one, and no value of another key;
//! - an event never makes it apply the same value a second time (a get may);
//! - it goes on when the server restarts, the connection is lost, or the history is compacted;
//! - it goes on when a request gets no response, and waits at most 5 s for it;
//! - it sends nothing to etcd while nothing changes and nothing fails;
//! - it pauses between two attempts while it can't reach etcd (100 ms will do).
//!
//! This is the only file to edit.
//!
//! ```text
//! cargo run -p watch --example reload            tries this file
//! cargo run -p watch --example reload -- hint
//! ```

use anyhow::{Context, Result};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::Client;

pub async fn follow(client: &mut Client, key: &str, mut apply: impl FnMut(&str)) -> Result<()> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    for kv in found.kvs() {
        apply(kv.value_str()?);
    }

    let mut stream =
        within(REQUEST_TIMEOUT, client.watch(key, None)).await.context("watch failed")?;
    // No limit, because the next change may come at any time.
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            apply(kv.value_str()?);
        }
    }
    Ok(())
}
