//! Exercise: a program keeps its configuration in a key of etcd. `follow` runs as long as the
//! program: it gives `apply` the value that it finds, and then each new one, but it misses changes.
//! The program should always have the newest value. Fix `follow` so that:
//!
//! - it applies the newest value within 3 s after the put, or after it can reach etcd again;
//! - it applies no older value after a newer one, and no value of another key;
//! - it applies no change twice, except for a value that it gets again after its watch has ended;
//! - it goes on when the server restarts, when the connection is lost and when the history is
//!   compacted;
//! - if a request gets no response, it stops waiting within 5 s, and goes on;
//! - it sends no request while nothing changes and nothing fails;
//! - it pauses between two attempts while it can't reach etcd.
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
