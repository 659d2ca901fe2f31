//! Wrong: asks for all keys at once, without their values, and then for each parcel alone. The keys
//! alone can be too many for one response, and a get per parcel takes far too many responses.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

pub async fn read(client: &mut Client, shelves: &str, _limit: i64) -> Result<Vec<String>> {
    let keys = GetOptions::new().with_prefix().with_keys_only();
    let keys = within(REQUEST_TIMEOUT, client.get(shelves, Some(keys))).await?;
    let revision = keys.header().context("no header")?.revision();

    let mut parcels = Vec::new();
    for key in keys.kvs() {
        let then = GetOptions::new().with_revision(revision);
        let found = within(REQUEST_TIMEOUT, client.get(key.key(), Some(then))).await?;
        let kv = found.kvs().first().context("the shelf was empty")?;
        parcels.push(kv.value_str()?.to_owned());
    }
    Ok(parcels)
}
