//! Exercise: many clients count with one key of etcd. `add` adds 1 to the number in `key`. But
//! most of what the clients add is lost. Repair it: nothing may be lost, and nothing added twice,
//! however many clients add at the same time. This is the only file to edit.
//!
//! ```text
//! cargo run -p put-get --example counter            tries this file
//! cargo run -p put-get --example counter -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no counter")?;
    let number: i64 = kv.value_str()?.parse()?;

    let more = (number + 1).to_string();
    within(REQUEST_TIMEOUT, client.put(key, more, None)).await.context("put failed")?;

    Ok(())
}
