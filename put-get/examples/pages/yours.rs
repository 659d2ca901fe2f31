//! Exercise: the keys below `shelves/` are shelves, with a parcel on each. While `read` lists the
//! parcels page by page, others move them from shelf to shelf, so it misses some and lists others
//! twice. The list should be what lay on the shelves at one moment. Fix `read` so that:
//!
//! - the list has each parcel exactly once, in the order of the shelves at one moment while `read`
//!   ran;
//! - the list has nothing from keys outside `shelves/`;
//! - no response has more than `limit` parcels: with a limit of 10, the 110 parcels take at least
//!   11 responses;
//! - it gets all parcels in at most 14 responses, although the others never stop moving them;
//! - if a response gets lost or etcd refuses a request, it returns within 5 s, with such a list or
//!   with an error.
//!
//! This is the only file to edit.
//!
//! ```text
//! cargo run -p put-get --example pages            tries this file
//! cargo run -p put-get --example pages -- hint
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};

/// Returns all parcels in the order of their shelves. `shelves` ends with a slash.
pub async fn read(client: &mut Client, shelves: &str, limit: i64) -> Result<Vec<String>> {
    // The end of a range isn't part of it. In ASCII, 0 comes right after the slash.
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
            // No other key can come between a key and the same key with a zero byte.
            Some(last) if found.more() => next = [last.key(), b"\0"].concat(),
            _ => return Ok(parcels),
        }
    }
}
