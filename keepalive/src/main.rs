//! Renews a lease for two TTLs, then stops and sees its key go.
//!
//! ```text
//! cargo run -p keepalive
//! ```

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect, deleted, reconnect, within};
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

    let ttl = Duration::from_secs(lease.ttl().unsigned_abs());
    let mut renewals = 0;
    while renewals < 6 {
        // Go's KeepAlive renews in the background. This call renews once; from then
        // on a renewal is a message that we send and an answer that we read.
        let stream = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await;
        let (mut keeper, mut answers) = stream.context("keep-alive failed")?;
        while renewals < 6 {
            sleep(ttl / 3).await;
            let renewal = async {
                keeper.keep_alive().await?;
                answers.message().await
            };
            let Ok(Some(answer)) = within(REQUEST_TIMEOUT, renewal).await else {
                // What is lost is the stream, the lease not yet: a new stream renews it.
                reconnect(&client).await.context("renewal failed")?;
                break;
            };
            // A lost lease is no error to etcd: it answers, with a TTL of 0.
            ensure!(answer.ttl() > 0, "the lease is lost");
            println!("ttl: {}", answer.ttl());
            renewals += 1;
        }
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
