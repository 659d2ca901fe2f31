//! Exercise: eight clients share one counter, a key with a number in it. Each client calls `add`,
//! which adds 1, but most of the additions get lost. All of them should be in the counter at the
//! end. Fix `add` so that:
//!
//! - it adds 1 exactly once, and undoes nothing that others have added;
//! - it tries again as long as others are faster: being late isn't an error;
//! - one call sends at most 20 requests while nobody else adds, even if other keys change;
//! - it returns `Ok` only after etcd has confirmed the addition;
//! - if a request or its response gets lost, it returns within 5 s, with an error if it can't know
//!   whether the 1 was added;
//! - if the value isn't a number, it returns an error and leaves the value as it is.
//!
//! This is the only file to edit.
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
