//! Redlock, redis's own cure for a failover: who has the lock on most of several servers that know nothing
//! of each other, has the lock.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_server::Proxy;
use redis::{Client, cmd};
use rslock::{Lock, LockError, LockManager};
use tokio::time::timeout;

use crate::client::LIMIT;
use crate::server::{ON_DISK, Redis};
use crate::{seconds, sentence};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(3);

pub async fn show() -> Result<()> {
    sentence(
        "(not in the tutorial) redis: with Redlock, a majority of five servers, there is one holder",
    )?;
    say!("  three servers answer a; one of the three crashes, and b asks all five")?;
    let (forgets, on_disk, away) = tokio::try_join!(
        crash("", LONG, Duration::ZERO, true),
        crash(ON_DISK, LONG, Duration::ZERO, false),
        crash("", SHORT, SHORT, false),
    )?;
    say!("  it comes back at once, with nothing: {forgets}")?;
    say!("  it comes back at once, appendfsync always: {on_disk}")?;
    say!("  it stays away for the TTL, 3 s: {away}")?;
    pause().await?;
    say!("only if a server forgets no lock, and no holder pauses")
}

/// Lets one of the servers crash on which a has the lock, and stay away for so long. Then b must have the
/// lock at the same time if `two`, and not if not. Returns what is so.
async fn crash(config: &str, ttl: Duration, away: Duration, two: bool) -> Result<String> {
    let mut servers = start(config).await?;
    let cut = [Proxy::to(servers[3].address)?, Proxy::to(servers[4].address)?];
    cut.iter().for_each(Proxy::cut);
    let mut seen_by_a = addresses(&servers);
    seen_by_a[3..].copy_from_slice(&cut.each_ref().map(Proxy::address));
    let a = manager(&seen_by_a, 1)?.lock("lock", ttl).await.context("a does not get the lock")?;
    let valid = Instant::now() + Duration::from_millis(a.validity_time as u64);
    let first = count(&servers, &a).await?;
    servers[2].crash(away).await?;

    let b = match manager(&addresses(&servers), 1)?.lock("lock", LONG).await {
        Ok(lock) => Some(lock),
        Err(LockError::Unavailable) => None,
        Err(error) => return Err(error.into()),
    };
    let both = b.is_some() && Instant::now() < valid;
    let found = match &b {
        Some(lock) if both => format!("b has it on {}, too", count(&servers, lock).await?),
        Some(_) => "b has it, but the time of a is over".to_owned(),
        None => "b has not got it".to_owned(),
    };
    let found = format!("a has it on {first}, {found}");
    ensure!(both == two, "not what was to be shown: {found}");
    Ok(found)
}

/// Lets a holder pause between its look at the clock and its write.
async fn pause() -> Result<()> {
    let (servers, store) = (start("").await?, Redis::start("").await?);
    let (mut a, mut b) = (store.client("a").await?, store.client("b").await?);
    b.hears("SET number 0", "OK").await?;
    let ttl = Duration::from_secs(1);
    let lock = manager(&addresses(&servers), 1)?.lock("lock", ttl).await?;
    let valid = Instant::now() + Duration::from_millis(lock.validity_time as u64);
    a.hears("GET number", "\"0\"").await?;
    ensure!(Instant::now() < valid, "not what was to be shown: a was late");
    say!("  a has the lock for 1 s, has looked at its clock, and pauses")?;

    let begin = Instant::now();
    let taken = timeout(LIMIT, manager(&addresses(&servers), 1)?.acquire("lock", LONG)).await;
    let _lock = taken.context("b does not get the lock")??;
    say!("  b has it after {}", seconds(begin.elapsed()))?;
    b.hears("INCR number", "(integer) 1").await?;
    say!("  a goes on")?;
    a.hears("SET number 1", "OK").await?;
    b.hears("GET number", "\"1\"").await
}

/// Starts five servers.
pub async fn start(config: &str) -> Result<Vec<Redis>> {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Redis::start(config).await?);
    }
    Ok(servers)
}

pub fn addresses(servers: &[Redis]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// Returns a client of Redlock that tries so often before it gives up.
pub fn manager(servers: &[SocketAddr], tries: u32) -> Result<LockManager> {
    let client = |server: &SocketAddr| Client::open(format!("redis://{server}"));
    let clients = servers.iter().map(client).collect::<Result<_, _>>()?;
    let mut manager = LockManager::from_clients(clients);
    manager.set_retry(tries, Duration::from_millis(200));
    Ok(manager)
}

/// Returns on how many servers this lock is, and not another one.
async fn count(servers: &[Redis], lock: &Lock) -> Result<usize> {
    let mut count = 0;
    for server in servers {
        let mut client = server.client("").await?;
        let value: Option<Vec<u8>> =
            cmd("GET").arg("lock").query_async(&mut client.connection).await?;
        count += usize::from(value.as_ref() == Some(&lock.val));
    }
    Ok(count)
}
