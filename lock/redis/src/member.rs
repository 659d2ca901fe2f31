//! A lock on etcd while its members fail.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::{connect_to, within};
use etcd_server::{Cluster, Server};
use lock::{Mutex, Session};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::client::LIMIT;
use crate::{POLL_INTERVAL, seconds, sentence};

/// The TTL of a, which is longer than the leader is alone.
const TTL: Duration = Duration::from_secs(5);

/// The TTL of b and c, which is longer than the rest of this part.
const LONG: Duration = Duration::from_secs(60);

/// How long the leader alone must not confirm the lock.
const NO_LOCK_FOR: Duration = Duration::from_secs(2);

pub async fn show() -> Result<()> {
    sentence("etcd: a node that fails does not affect the cluster")?;
    let mut cluster = spawn_blocking(Cluster::start).await??;
    let leader = cluster.leader().await?;
    cluster.members.swap(0, leader);
    let a = session(&cluster.members[..1], TTL).await?;
    let mutex = Mutex::new(&a, "lock");
    say!("  three members; a is connected to the leader")?;

    cluster.members[1].kill()?;
    let begin = Instant::now();
    let guard = mutex.try_lock().await?.context("unexpected: the lock is not free")?;
    ensure!(guard.unlock().await?, "unexpected: a has lost the lock");
    say!(
        "  a follower is killed: a locks and unlocks within {:.3} s",
        begin.elapsed().as_secs_f64()
    )?;
    cluster.members[2].kill()?;
    let result = timeout(NO_LOCK_FOR, mutex.try_lock()).await;
    ensure!(result.is_err(), "unexpected: one of three members has confirmed a lock");
    say!(
        "  the other follower is killed, too: a asks for the lock, no response within {}",
        seconds(NO_LOCK_FOR)
    )?;

    // The members may now carry out a's request. Then b gets the lock when a's lease has expired.
    drop((mutex, a));
    cluster = spawn_blocking(move || restart(cluster)).await??;
    let b = session(&cluster.members, LONG).await?;
    let guard = timeout(LIMIT, Mutex::new(&b, "lock").lock())
        .await
        .context("unexpected: b still waits")??;
    say!("  both are back: b has the lock")?;
    let leader = cluster.leader().await?;
    let c = session(&cluster.members, LONG).await?;
    cluster.members.remove(leader).kill()?;
    let outage = time_without_response(&cluster).await?;
    say!("  the leader is killed: no response for {}", seconds(outage))?;
    let mutex = Mutex::new(&c, "lock");
    let taken = mutex.try_lock().await?.is_some();
    let token = guard.token();
    ensure!(!taken && guard.unlock().await?, "unexpected: b has lost the lock");
    say!("  c asks for the lock, which isn't free; b unlocks, and had the lock until then")?;
    let guard = timeout(LIMIT, mutex.lock()).await.context("unexpected: c still waits")??;
    ensure!(guard.token() > token, "unexpected: the token is not larger");
    say!("  c gets it, with a larger token than b")?;
    say!(
        "only if it doesn't lead; if it does, all wait for an election, but a confirmed lock stays"
    )
}

/// Returns how long it takes until the remaining members respond to a get.
async fn time_without_response(cluster: &Cluster) -> Result<Duration> {
    let begin = Instant::now();
    let mut client = connect_to([cluster.members[0].endpoint()]).await?;
    while within(Duration::from_millis(100), client.get("lock", None)).await.is_err() {
        ensure!(begin.elapsed() < LIMIT, "unexpected: no response for {LIMIT:?}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(begin.elapsed())
}

async fn session(members: &[Server], ttl: Duration) -> Result<Session> {
    let endpoints: Vec<_> = members.iter().map(Server::endpoint).collect();
    Session::open(&connect_to(endpoints).await?, ttl).await
}

/// Starts the second and the third member again, at the same time, because neither serves alone.
fn restart(mut cluster: Cluster) -> Result<Cluster> {
    thread::scope(|scope| {
        let followers = cluster.members[1..].iter_mut();
        let starts: Vec<_> = followers.map(|member| scope.spawn(|| member.restart())).collect();
        starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| bail!("a panic")))
    })?;
    Ok(cluster)
}
