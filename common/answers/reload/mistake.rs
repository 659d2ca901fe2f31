//! Exercise: a program keeps its configuration in a key of etcd. `follow` gives `apply` the
//! value that is there, and then each new one, as long as the program runs. But it misses
//! changes. Repair it: the newest value must be applied soon after a change, whatever has
//! happened meanwhile. No older one may follow it, and no change may be applied twice. While
//! nothing changes and nothing fails, it must send no request. While it cannot reach etcd, it must
//! pause between two attempts. This is the only file to edit.
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
    // No limit: a watch waits for as long as there may be news.
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            apply(kv.value_str()?);
        }
    }
    Ok(())
}
