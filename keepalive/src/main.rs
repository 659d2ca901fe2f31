//! Renews a lease for two TTLs, then stops and sees its key go.
//!
//! ```text
//! cargo run -p keepalive
//! ```

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect, deleted, within};
use etcd_client::PutOptions;
use tokio::time::{Duration, sleep};

const TTL: i64 = 5; // seconds

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut client = connect().await?;
    let lease =
        within(REQUEST_TIMEOUT, client.lease_grant(TTL, None)).await.context("grant failed")?;
    let on_lease = PutOptions::new().with_lease(lease.id());
    within(REQUEST_TIMEOUT, client.put("foo", "bar", Some(on_lease)))
        .await
        .context("put failed")?;

    // Go's KeepAlive renews in the background. This call renews once; from then
    // on a renewal is a message that we send and an answer that we read.
    let (mut keeper, mut answers) = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id()))
        .await
        .context("keep-alive failed")?;
    let ttl = Duration::from_secs(lease.ttl().unsigned_abs());
    for _ in 0..6 {
        sleep(ttl / 3).await;
        within(REQUEST_TIMEOUT, keeper.keep_alive()).await.context("renewal failed")?;
        let answer = within(REQUEST_TIMEOUT, answers.message()).await.context("renewal failed")?;
        let left = answer.context("the server ended the renewals")?.ttl();
        // A lost lease is no error to etcd: it answers, with a TTL of 0.
        ensure!(left > 0, "the lease is lost");
        println!("ttl: {left}");
    }

    let response = within(REQUEST_TIMEOUT, client.get("foo", None)).await.context("get failed")?;
    let ours = response.kvs().iter().any(|kv| kv.lease() == lease.id());
    ensure!(ours, "foo is not on our lease any more, although the lease lives");
    println!("foo is still there");

    println!("no more renewals");
    deleted(&mut client, "foo").await.context("waiting for foo to go failed")?;
    println!("foo is gone");

    Ok(())
}
