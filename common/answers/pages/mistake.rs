//! Exercise: parcels lie on shelves. The shelves are the keys below `shelves/`. `read` lists
//! all parcels in the order of the shelves, with at most `limit` in each response. While it
//! reads, others move parcels from shelf to shelf. So it misses some parcels and lists others
//! twice. Repair it: the list must be what lay on the shelves at one moment. This is the only
//! file to edit.
//!
//! ```text
//! cargo run -p put-get --example pages            tries this file
//! cargo run -p put-get --example pages -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

/// `shelves` ends with a slash.
pub async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>> {
    // The end of a range is not part of it. 0 is the character after the slash.
    let end = format!("{}0", shelves.trim_end_matches('/'));
    let mut next = shelves.as_bytes().to_vec();

    let mut parcels = Vec::new();
    loop {
        let page = GetOptions::new().with_range(&*end).with_limit(limit);
        let found =
            within(REQUEST_TIMEOUT, client.get(next, Some(page))).await.context("get failed")?;
        for kv in found.kvs() {
            parcels.push(kv.value_str()?.to_owned());
        }
        match found.kvs().last() {
            // The first possible key after the last one.
            Some(last) if found.more() => next = [last.key(), b"\0"].concat(),
            _ => return Ok(parcels),
        }
    }
}
