//! One right answer to the exercise `pages`.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

/// Returns all parcels in the order of their shelves. `shelves` ends with a slash.
pub async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>> {
    // The end of a range isn't part of it. In ASCII, 0 comes right after the slash.
    let end = format!("{}0", shelves.trim_end_matches('/'));
    let mut next = shelves.as_bytes().to_vec();

    // 0 stands for the newest revision. The first response says which revision that was.
    let mut revision = 0;
    let mut parcels = Vec::new();
    loop {
        let page = GetOptions::new().with_range(&*end).with_limit(limit).with_revision(revision);
        let found =
            within(REQUEST_TIMEOUT, client.get(next, Some(page))).await.context("get failed")?;
        if revision == 0 {
            revision = found.header().context("no header")?.revision();
        }
        for kv in found.kvs() {
            parcels.push(kv.value_str()?.to_owned());
        }
        match found.kvs().last() {
            // No other key can come between a key and the same key with a zero byte.
            Some(last) if found.more() => next = [last.key(), b"\0"].concat(),
            _ => return Ok(parcels),
        }
    }
}
