//! A lock of etcd while its members fail.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::{connect_to, within};
use etcd_server::{Cluster, Server};
use lock::{Mutex, Session};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::client::LIMIT;
use crate::{LOOK, seconds, sentence};

/// Longer than the leader is alone.
const TTL: Duration = Duration::from_secs(5);

/// Longer than this takes.
const LONG: Duration = Duration::from_secs(60);

/// For so long, the leader alone must confirm nothing.
const PATIENCE: Duration = Duration::from_secs(2);

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
    let guard = mutex.try_lock().await?.context("the lock is not free")?;
    ensure!(guard.unlock().await?, "not what was to be shown: a has lost the lock");
    say!(
        "  a follower is killed: a locks and unlocks within {:.3} s",
        begin.elapsed().as_secs_f64()
    )?;
    cluster.members[2].kill()?;
    let answer = timeout(PATIENCE, mutex.try_lock()).await;
    ensure!(answer.is_err(), "not what was to be shown: one of three has confirmed a lock");
    say!(
        "  the other follower, too: a asks for the lock, no response within {}",
        seconds(PATIENCE)
    )?;

    // The followers may carry out now what a has asked for. So b may wait until the lease of a has ended.
    drop((mutex, a));
    cluster = spawn_blocking(move || restart(cluster)).await??;
    let b = session(&cluster.members, LONG).await?;
    let guard = timeout(LIMIT, Mutex::new(&b, "lock").lock()).await.context("b waits")??;
    say!("  both are back: b has the lock")?;
    let leader = cluster.leader().await?;
    let c = session(&cluster.members, LONG).await?;
    cluster.members.remove(leader).kill()?;
    let after = until_an_answer(&cluster).await?;
    say!("  the leader is killed: no response for {}", seconds(after))?;
    let mutex = Mutex::new(&c, "lock");
    let taken = mutex.try_lock().await?.is_some();
    let token = guard.token();
    ensure!(!taken && guard.unlock().await?, "not what was to be shown: b has lost the lock");
    say!("  c asks for the lock: it is not free; b unlocks: the lock was still its own")?;
    let guard = timeout(LIMIT, mutex.lock()).await.context("c waits")??;
    ensure!(guard.token() > token, "not what was to be shown: the token is not greater");
    say!("  c has it, with a greater token than b")?;
    say!("only if it does not lead; else all wait for an election, and a confirmed lock stays")
}

/// Returns how long it takes until the members that are left answer a get.
async fn until_an_answer(cluster: &Cluster) -> Result<Duration> {
    let begin = Instant::now();
    let mut client = connect_to([cluster.members[0].endpoint()]).await?;
    while within(Duration::from_millis(100), client.get("lock", None)).await.is_err() {
        ensure!(begin.elapsed() < LIMIT, "not what was to be shown: no response for {LIMIT:?}");
        sleep(LOOK).await;
    }
    Ok(begin.elapsed())
}

async fn session(members: &[Server], ttl: Duration) -> Result<Session> {
    let endpoints: Vec<_> = members.iter().map(Server::endpoint).collect();
    Session::open(&connect_to(endpoints).await?, ttl).await
}

/// Starts the second and the third member again, both at once: neither serves alone.
fn restart(mut cluster: Cluster) -> Result<Cluster> {
    thread::scope(|scope| {
        let followers = cluster.members[1..].iter_mut();
        let starts: Vec<_> = followers.map(|member| scope.spawn(|| member.restart())).collect();
        starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| bail!("a panic")))
    })?;
    Ok(cluster)
}
