//! A lock whose expiry is shorter than the work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::connect_to;
use etcd_server::Server;
use lock::{Mutex, Session};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::client::{Client, NIL, unlock};
use crate::holder::TTL;
use crate::server::Redis;
use crate::{seconds, sentence};

/// How long a works on after its lock has expired.
const OVERLAP: Duration = Duration::from_millis(300);

/// How long b must wait for etcd's lock: longer than it takes a lease to expire.
const NO_LOCK_FOR: Duration = Duration::from_secs(3);

/// The same as `unlock`, as one command: of redis 8.4 and later, and of valkey 9.0 and later.
const DELETE_IF: [&str; 2] = ["DELEX lock IFEQ a", "DELIFEQ lock a"];

/// Renews the lock if a holds it.
const RENEW: &str = "EVAL \"return redis.call('GET',KEYS[1])==ARGV[1] and \
                     redis.call('PEXPIRE',KEYS[1],1000) or 0\" 1 lock a";

pub async fn show() -> Result<()> {
    sentence("redis: a badly chosen expiry leads to much contention")?;
    say!("  the lock expires after 0.3 s, but a works for 0.6 s")?;
    let redis = Redis::start("").await?;
    let mut a = redis.client("a").await?;
    let (mut b, mut c) = (redis.client("b").await?, redis.client("c").await?);

    both_work(&mut a, &mut b).await?;
    a.expect_reply("DEL lock", "(integer) 1").await?;
    c.expect_reply("SET lock c NX PX 60000", "OK").await?;
    say!("  a has deleted b's lock, so now c works, too")?;

    c.ask("DEL lock").await?;
    both_work(&mut a, &mut b).await?;
    a.expect_reply(&unlock("a"), "(integer) 0").await?;
    for command in DELETE_IF {
        if a.ask(command).await? == "(integer) 0" {
            a.expect_reply(command, "(integer) 0").await?;
            break;
        }
    }
    c.expect_reply("SET lock c NX PX 60000", NIL).await?;

    b.ask("DEL lock").await?;
    say!("  the lock expires after 1 s, but a works for 2 s and renews it every 0.1 s")?;
    a.expect_reply("SET lock a NX PX 1000", "OK").await?;
    a.expect_reply(RENEW, "(integer) 1").await?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        b.expect_no_lock_for("SET lock b NX", Duration::from_millis(100)).await?;
        ensure!(a.ask(RENEW).await? == "(integer) 1", "unexpected: a renewed too late");
    }
    say!("  b doesn't get it")?;

    let etcd = spawn_blocking(Server::start).await??;
    let a = Session::open(&connect_to([etcd.endpoint()]).await?, TTL).await?;
    let b = Session::open(&connect_to([etcd.endpoint()]).await?, 5 * TTL).await?;
    let guard =
        Mutex::new(&a, "lock").try_lock().await?.context("unexpected: the lock is not free")?;
    let taken = timeout(NO_LOCK_FOR, Mutex::new(&b, "lock").lock()).await.is_ok();
    ensure!(!taken && guard.unlock().await?, "unexpected: the session was lost");
    say!("  etcd: the TTL is 2 s, a works for 3 s, its session renews: b doesn't get it")?;
    say!("false: too short leads to two holders, unless renewed; too long, to a long wait")
}

/// Lets a take the lock and work for longer than its expiry, so that b gets the lock, too.
async fn both_work(a: &mut Client, b: &mut Client) -> Result<()> {
    a.expect_reply("SET lock a NX PX 300", "OK").await?;
    let waited = b.wait_for_lock("SET lock b NX PX 60000").await?;
    say!("  b gets it after {}", seconds(waited))?;
    sleep(OVERLAP).await;
    say!("  a and b both work for {}", seconds(OVERLAP))
}
