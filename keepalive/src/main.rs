//! Renews a lease for longer than its TTL, then stops renewing and waits until its key is deleted.
//!
//! ```text
//! cargo run -p keepalive
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result, bail, ensure};
use common::{REQUEST_TIMEOUT, connect, deleted, is_refusal, no_argument, reconnect, within};
use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper, PutOptions};
use tokio::time::{Duration, sleep};

const TTL: i64 = 5; // seconds

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("main.rs"));
    let mut client = connect().await?;
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(TTL, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put("foo", "bar", Some(on_lease)))
        .await
        .context("put failed")?;

    let mut stream = open(&mut client, lease.id()).await?;
    let mut renewals = 0;
    while renewals < 4 {
        sleep(Duration::from_secs(lease.ttl().unsigned_abs()) / 3).await;
        let left = within(REQUEST_TIMEOUT, client.lease_time_to_live(lease.id(), None)).await;
        let (Ok(left), Ok(ttl)) = (left, renew(&mut stream).await) else {
            // The stream is lost, but the lease may not be: a renewal on a new stream can save it.
            reconnect(&client).await.context("renewal failed")?;
            stream = open(&mut client, lease.id()).await?;
            continue;
        };
        // To etcd, a lost lease isn't an error: the response just has a TTL of 0.
        ensure!(ttl > 0, "the lease is lost");
        writeln!(stdout(), "ttl: {}, renewed: {ttl}", left.ttl())?;
        renewals += 1;
    }

    let response = within(REQUEST_TIMEOUT, client.get("foo", None)).await.context("get failed")?;
    let ours = response.kvs().iter().any(|kv| kv.lease() == lease.id());
    ensure!(ours, "foo is no longer on our lease");
    writeln!(stdout(), "foo is still there")?;
    writeln!(stdout(), "no more renewals")?;
    deleted(&mut client, "foo").await.context("waiting for the deletion of foo failed")?;
    writeln!(stdout(), "foo is gone")?;
    Ok(())
}

/// Opens a stream, which renews the lease once. Go's KeepAlive then goes on renewing by itself.
async fn open(client: &mut Client, lease: i64) -> Result<(LeaseKeeper, LeaseKeepAliveStream)> {
    match within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await {
        Err(error) if is_refusal(&error) => bail!("the lease is lost"),
        opened => opened.context("keep-alive failed"),
    }
}

/// Sends a renewal and waits for the response. Returns the new TTL.
async fn renew((keeper, responses): &mut (LeaseKeeper, LeaseKeepAliveStream)) -> Result<i64> {
    let renewal = async {
        keeper.keep_alive().await?;
        responses.message().await
    };
    let response = within(REQUEST_TIMEOUT, renewal).await?.context("the stream has ended")?;
    Ok(response.ttl())
}
