//! What becomes of a lock whose expiry is shorter than the work.

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

/// How long a works when its expiry is over.
const TOGETHER: Duration = Duration::from_millis(300);

/// Longer than the TTL of etcd, and the half second in which it looks for leases that have ended.
const LONG: Duration = Duration::from_secs(3);

/// The same as `unlock` in one command: redis has it since 8.4, valkey since 9.0.
const DELETE_IF: [&str; 2] = ["DELEX lock IFEQ a", "DELIFEQ lock a"];

/// Renews the lock if it is a's.
const RENEW: &str = "EVAL \"return redis.call('GET',KEYS[1])==ARGV[1] and \
                     redis.call('PEXPIRE',KEYS[1],1000) or 0\" 1 lock a";

pub async fn show() -> Result<()> {
    sentence("redis: an expiry badly chosen leads to much contention")?;
    say!("  the expiry is 0.3 s, a works for 0.6 s")?;
    let redis = Redis::start("").await?;
    let mut a = redis.client("a").await?;
    let (mut b, mut c) = (redis.client("b").await?, redis.client("c").await?);

    both_work(&mut a, &mut b).await?;
    a.hears("DEL lock", "(integer) 1").await?;
    c.hears("SET lock c NX PX 60000", "OK").await?;
    say!("  a has deleted the lock of b, and c works, too")?;

    c.ask("DEL lock").await?;
    both_work(&mut a, &mut b).await?;
    a.hears(&unlock("a"), "(integer) 0").await?;
    for command in DELETE_IF {
        if a.ask(command).await? == "(integer) 0" {
            a.hears(command, "(integer) 0").await?;
            break;
        }
    }
    c.hears("SET lock c NX PX 60000", NIL).await?;

    b.ask("DEL lock").await?;
    say!("  the expiry is 1 s, a works for 2 s and renews the lock every 0.1 s")?;
    a.hears("SET lock a NX PX 1000", "OK").await?;
    a.hears(RENEW, "(integer) 1").await?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        b.waits_in_vain("SET lock b NX", Duration::from_millis(100)).await?;
        ensure!(a.ask(RENEW).await? == "(integer) 1", "not what was to be shown: a was late");
    }
    say!("  b has not got it")?;

    let etcd = spawn_blocking(Server::start).await??;
    let a = Session::open(&connect_to([etcd.endpoint()]).await?, TTL).await?;
    let b = Session::open(&connect_to([etcd.endpoint()]).await?, 5 * TTL).await?;
    let guard = Mutex::new(&a, "lock").try_lock().await?.context("the lock is not free")?;
    let taken = timeout(LONG, Mutex::new(&b, "lock").lock()).await.is_ok();
    ensure!(!taken && guard.unlock().await?, "not what was to be shown: the session was lost");
    say!("  etcd: the TTL is 2 s, a works for 3 s, its session renews: b has not got it")?;
    say!(
        "false: too short, it leads to two holders, unless it is renewed; too long, to a long wait"
    )
}

/// Lets a take the lock, and work for longer than its expiry. So b gets the lock meanwhile.
async fn both_work(a: &mut Client, b: &mut Client) -> Result<()> {
    a.hears("SET lock a NX PX 300", "OK").await?;
    let waited = b.waits_for("SET lock b NX PX 60000").await?;
    say!("  b has it after {}", seconds(waited))?;
    sleep(TOGETHER).await;
    say!("  a and b have worked at the same time, for {}", seconds(TOGETHER))
}
