//! Puts a key on a lease, shows how the TTL runs down, and waits until etcd deletes the key.
//!
//! ```text
//! cargo run -p lease
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect, deleted, no_argument, within};
use etcd_client::PutOptions;
use tokio::time::{Duration, interval};

const TTL: i64 = 5; // seconds

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("main.rs"));
    let mut client = connect().await?;

    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(TTL, None)).await.context("grant failed")?;

    // The lease is in etcd: it runs out whether or not this program still runs. The Go program
    // ends after the put, so it never sees the key disappear.
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put("foo", "bar", Some(on_lease)))
        .await
        .context("put failed")?;
    writeln!(stdout(), "foo is set, for {} seconds", lease.ttl())?;

    // etcd rounds down, so the first number is 4. If a request fails, its number is missing: the
    // TTL runs down anyway.
    write!(stdout(), "ttl:")?;
    let mut every_second = interval(Duration::from_secs(1));
    for _ in 0..lease.ttl() {
        every_second.tick().await;
        let asked = client.lease_time_to_live(lease.id(), None);
        if let Ok(left) = within(REQUEST_TIMEOUT, asked).await {
            write!(stdout(), " {}", left.ttl())?;
            stdout().flush()?;
        }
    }
    writeln!(stdout())?;

    // No limit, because only etcd knows when it deletes the key: it looks for expired leases every
    // half second, so the key disappears a little late, never early.
    deleted(&mut client, "foo").await.context("waiting for the deletion of foo failed")?;
    writeln!(stdout(), "foo is gone")?;

    Ok(())
}
