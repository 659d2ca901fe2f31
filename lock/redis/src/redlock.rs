//! Redlock, redis's own cure for a failover: who has the lock on most of several servers that know nothing
//! of each other, has the lock.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_server::Proxy;
use redis::Client;
use rslock::{LockError, LockManager};
use tokio::time::{sleep, timeout};

use crate::client::LIMIT;
use crate::server::{ON_DISK, Redis};
use crate::{seconds, sentence};

const LONG: Duration = Duration::from_secs(60);

pub async fn show() -> Result<()> {
    sentence(
        "(not in the tutorial) redis: with Redlock, a majority of five servers, there is one holder",
    )?;
    say!("  two of the five are cut off from a; a third one crashes, and b asks all")?;
    let (forgets, on_disk, away) =
        tokio::try_join!(comes_back(""), comes_back(ON_DISK), stays_away())?;
    say!("  it comes back at once, with nothing: held by {forgets}")?;
    say!("  it comes back at once, appendfsync always: held by {on_disk}")?;
    say!("  it stays away for the TTL, 3 s: held by {}, and then by {}", away[0], away[1])?;
    let found = (forgets, on_disk, away);
    ensure!(found == ("a and b", "a", ["a", "b"]), "not what was to be shown");
    pause().await?;
    say!("only if a server forgets no lock, and no holder pauses")
}

async fn comes_back(config: &str) -> Result<&'static str> {
    let mut stage = Stage::new(config, LONG).await?;
    stage.servers[2].kill()?;
    stage.servers[2].restart().await?;
    stage.b_asks().await
}

async fn stays_away() -> Result<[&'static str; 2]> {
    let ttl = Duration::from_secs(3);
    let mut stage = Stage::new("", ttl).await?;
    stage.servers[2].kill()?;
    let meanwhile = stage.b_asks().await?;
    sleep(ttl).await;
    stage.servers[2].restart().await?;
    Ok([meanwhile, stage.b_asks().await?])
}

/// Five servers; a has the lock on the first three of them, and cannot reach the others.
struct Stage {
    servers: Vec<Redis>,
    /// By the clock of a, the lock is its own until then.
    valid: Instant,
}

impl Stage {
    async fn new(config: &str, ttl: Duration) -> Result<Stage> {
        let servers = start(config).await?;
        let cut = [Proxy::to(servers[3].address)?, Proxy::to(servers[4].address)?];
        cut.iter().for_each(Proxy::cut);
        let mut seen_by_a = addresses(&servers);
        seen_by_a[3..].copy_from_slice(&cut.each_ref().map(Proxy::address));
        let lock = manager(&seen_by_a)?.lock("lock", ttl).await.context("a has no lock")?;
        let valid = Instant::now() + Duration::from_millis(lock.validity_time as u64);
        Ok(Stage { servers, valid })
    }

    /// Lets b ask all servers, once. Returns who has the lock then.
    async fn b_asks(&self) -> Result<&'static str> {
        let lock = manager(&addresses(&self.servers))?.lock("lock", LONG).await;
        Ok(match (lock, Instant::now() < self.valid) {
            (Ok(_), true) => "a and b",
            (Ok(_), false) => "b",
            (Err(LockError::Unavailable), true) => "a",
            (Err(LockError::Unavailable), false) => "nobody",
            (Err(error), _) => return Err(error.into()),
        })
    }
}

/// Lets a holder pause between its look at the clock and its write.
async fn pause() -> Result<()> {
    let (servers, store) = (start("").await?, Redis::start("").await?);
    let (mut a, mut b) = (store.client("a").await?, store.client("b").await?);
    b.hears("SET number 0", "OK").await?;
    let ttl = Duration::from_secs(1);
    let lock = manager(&addresses(&servers))?.lock("lock", ttl).await?;
    let valid = Instant::now() + Duration::from_millis(lock.validity_time as u64);
    a.hears("GET number", "\"0\"").await?;
    ensure!(Instant::now() < valid, "not what was to be shown: a was late");
    say!("  a has the lock for 1 s, has looked at its clock, and pauses")?;

    let begin = Instant::now();
    let taken = timeout(LIMIT, manager(&addresses(&servers))?.acquire("lock", LONG)).await;
    let _lock = taken.context("b does not get the lock")??;
    say!("  b has it after {}", seconds(begin.elapsed()))?;
    b.hears("INCR number", "(integer) 1").await?;
    say!("  a goes on")?;
    a.hears("SET number 1", "OK").await?;
    b.hears("GET number", "\"1\"").await?;
    say!("  the addition of b is lost")
}

/// Starts five servers.
async fn start(config: &str) -> Result<Vec<Redis>> {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Redis::start(config).await?);
    }
    Ok(servers)
}

pub fn addresses(servers: &[Redis]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// Returns a client of Redlock whose `lock` tries once.
pub fn manager(servers: &[SocketAddr]) -> Result<LockManager> {
    let client = |server: &SocketAddr| Client::open(format!("redis://{server}"));
    let clients = servers.iter().map(client).collect::<Result<_, _>>()?;
    let mut manager = LockManager::from_clients(clients);
    manager.set_retry(1, Duration::from_millis(200));
    Ok(manager)
}
