//! Redlock, redis's own cure for a failover: a client has the lock if most of several independent
//! servers say so.

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
    say!(
        "  a can reach three of the five, and gets the lock; one of them crashes, and b asks all"
    )?;
    let (forgets, on_disk, away) =
        tokio::try_join!(restart_at_once(""), restart_at_once(ON_DISK), restart_after_ttl())?;
    say!("  it comes back at once, and empty: held by {forgets}")?;
    say!("  it comes back at once, appendfsync always: held by {on_disk}")?;
    say!("  it stays away for the TTL, 3 s: held by {}, and then by {}", away[0], away[1])?;
    let found = (forgets, on_disk, away);
    ensure!(found == ("a and b", "a", ["a", "b"]), "unexpected: other holders");
    pause_holder().await?;
    say!("only if no server forgets a lock, and no holder pauses")
}

async fn restart_at_once(config: &str) -> Result<&'static str> {
    let mut setting = Setting::new(config, LONG).await?;
    setting.servers[2].kill()?;
    setting.servers[2].restart().await?;
    setting.b_asks().await
}

async fn restart_after_ttl() -> Result<[&'static str; 2]> {
    let ttl = Duration::from_secs(3);
    let mut setting = Setting::new("", ttl).await?;
    setting.servers[2].kill()?;
    let before = setting.b_asks().await?;
    sleep(ttl).await;
    setting.servers[2].restart().await?;
    Ok([before, setting.b_asks().await?])
}

/// Five servers; a has the lock on the first three of them, and cannot reach the others.
struct Setting {
    servers: Vec<Redis>,
    /// The end of a's lock, by a's clock.
    valid: Instant,
}

impl Setting {
    async fn new(config: &str, ttl: Duration) -> Result<Setting> {
        let servers = start(config).await?;
        let cut = [Proxy::to(servers[3].address)?, Proxy::to(servers[4].address)?];
        cut.iter().for_each(Proxy::cut);
        let mut seen_by_a = addresses(&servers);
        seen_by_a[3..].copy_from_slice(&cut.each_ref().map(Proxy::address));
        let lock =
            manager(&seen_by_a)?.lock("lock", ttl).await.context("unexpected: a has no lock")?;
        let valid = Instant::now() + Duration::from_millis(lock.validity_time as u64);
        Ok(Setting { servers, valid })
    }

    /// Lets b ask all servers, once. Returns the holders of the lock after that.
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

/// Lets a holder pause after it has checked its clock, and before it writes.
async fn pause_holder() -> Result<()> {
    let (servers, store) = (start("").await?, Redis::start("").await?);
    let (mut a, mut b) = (store.client("a").await?, store.client("b").await?);
    b.expect_reply("SET number 0", "OK").await?;
    let ttl = Duration::from_secs(1);
    let lock = manager(&addresses(&servers))?.lock("lock", ttl).await?;
    let valid = Instant::now() + Duration::from_millis(lock.validity_time as u64);
    a.expect_reply("GET number", "\"0\"").await?;
    ensure!(Instant::now() < valid, "unexpected: the lock expired before a could check its clock");
    say!("  a has the lock for 1 s, checks its clock, and pauses")?;

    let begin = Instant::now();
    let taken = timeout(LIMIT, manager(&addresses(&servers))?.acquire("lock", LONG)).await;
    let _lock = taken.context("unexpected: b does not get the lock")??;
    say!("  b gets it after {}", seconds(begin.elapsed()))?;
    b.expect_reply("INCR number", "(integer) 1").await?;
    say!("  a goes on")?;
    a.expect_reply("SET number 1", "OK").await?;
    b.expect_reply("GET number", "\"1\"").await?;
    say!("  b's addition is lost")
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

/// Returns a Redlock client whose `lock` tries only once.
pub fn manager(servers: &[SocketAddr]) -> Result<LockManager> {
    let client = |server: &SocketAddr| Client::open(format!("redis://{server}"));
    let clients = servers.iter().map(client).collect::<Result<_, _>>()?;
    let mut manager = LockManager::from_clients(clients);
    manager.set_retry(1, Duration::from_millis(200));
    Ok(manager)
}
