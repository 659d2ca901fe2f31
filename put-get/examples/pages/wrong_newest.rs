//! Wrong: takes the revision from every answer, and that of an answer is always the newest.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

/// `shelves` ends in a slash.
pub async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>> {
    // A range ends before its end: 0 is the character after the slash.
    let end = format!("{}0", shelves.trim_end_matches('/'));
    let mut next = shelves.as_bytes().to_vec();

    // 0 is the newest; the first answer tells which one that was.
    let mut revision = 0;
    let mut parcels = Vec::new();
    loop {
        let page = GetOptions::new().with_range(&*end).with_limit(limit).with_revision(revision);
        let found =
            within(REQUEST_TIMEOUT, client.get(next, Some(page))).await.context("get failed")?;
        revision = found.header().context("no header")?.revision();
        for kv in found.kvs() {
            parcels.push(kv.value_str()?.to_owned());
        }
        match found.kvs().last() {
            // The first key that can come after the last one.
            Some(last) if found.more() => next = [last.key(), b"\0"].concat(),
            _ => return Ok(parcels),
        }
    }
}
