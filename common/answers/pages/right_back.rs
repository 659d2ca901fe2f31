//! Right: reads the pages from the last shelf to the first.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions, SortOrder, SortTarget};

pub async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>> {
    let mut end = format!("{}0", shelves.trim_end_matches('/')).into_bytes();
    let mut revision = 0;
    let mut parcels = Vec::new();
    loop {
        let page = GetOptions::new()
            .with_range(end)
            .with_sort(SortTarget::Key, SortOrder::Descend)
            .with_limit(limit)
            .with_revision(revision);
        let found =
            within(REQUEST_TIMEOUT, client.get(shelves, Some(page))).await.context("get failed")?;
        if revision == 0 {
            revision = found.header().context("no header")?.revision();
        }
        for kv in found.kvs() {
            parcels.push(kv.value_str()?.to_owned());
        }
        match found.kvs().last() {
            Some(last) if found.more() => end = last.key().to_vec(),
            _ => break,
        }
    }
    parcels.reverse();
    Ok(parcels)
}
