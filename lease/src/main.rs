//! Puts a key on a lease and sees it go when the lease runs out.
//!
//! ```text
//! cargo run -p lease
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect, deleted, within};
use etcd_client::PutOptions;

const TTL: i64 = 5; // seconds

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut client = connect().await?;

    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(TTL, None)).await.context("grant failed")?;

    // The lease is etcd's: it goes on, and ends, whether or not this program
    // still runs. Go's program leaves here, and never sees what it claims.
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put("foo", "bar", Some(on_lease)))
        .await
        .context("put failed")?;
    println!("foo is set, for {} seconds", lease.ttl());

    // No limit, as only etcd knows when: it looks for ended leases every half
    // second, so that the key goes a little late, never early.
    deleted(&mut client, "foo").await.context("waiting for foo to go failed")?;
    println!("foo is gone");

    Ok(())
}
