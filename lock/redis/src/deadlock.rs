//! What becomes of a lock whose holder is killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::connect_to;
use etcd_server::Server;
use exercise::{Symbol, Timeline};
use lock::{Mutex, Session};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::client::{LIMIT, NIL};
use crate::holder::{Holder, TTL};
use crate::server::Redis;
use crate::{LOOK, seconds, sentence};

/// Longer than the expiry, and than the TTL and the half second in which etcd looks for leases that have
/// ended.
const IN_VAIN: Duration = Duration::from_secs(3);

const WAITS: Symbol = Symbol('─', '-', "b waits for it");
const HAS: Symbol = Symbol('█', '#', "b has it");

pub async fn show() -> Result<()> {
    sentence("redis: a deadlock, if an error or a timeout keeps the lock from being released")?;
    let (redis, etcd) = (Redis::start("").await?, spawn_blocking(Server::start).await??);
    let (mut on_first, mut on_second) = (redis.client("b").await?, redis.client("b").await?);
    // The lock is free when the TTL of a is over. That of b does not matter.
    let session = Session::open(&connect_to([etcd.endpoint()]).await?, 5 * TTL).await?;
    let timeline = Timeline::default();
    let rows = ["lock1", "lock2", "etcd"];

    let holders = [
        Holder::start(redis.address, "SET lock1 a NX")?,
        Holder::start(redis.address, "SET lock2 a NX PX 2000")?,
        Holder::start(etcd.address(), "")?,
    ];
    drop(holders);
    say!("  a, which has all three, is killed")?;
    rows.iter().for_each(|row| timeline.note(row, WAITS));
    let begin = Instant::now();
    let first = async {
        while begin.elapsed() < IN_VAIN {
            ensure!(on_first.ask("SET lock1 b NX").await? == NIL, "not what was to be shown");
            sleep(LOOK).await;
        }
        Ok(())
    };
    let second = async {
        on_second.waits_for("SET lock2 b NX PX 2000").await?;
        timeline.note("lock2", HAS);
        Ok(begin.elapsed())
    };
    let third = async {
        let _guard =
            timeout(LIMIT, Mutex::new(&session, "lock").lock()).await.context("b waits")??;
        timeline.note("etcd", HAS);
        Ok(begin.elapsed())
    };
    let ((), second, third) = tokio::try_join!(first, second, third)?;
    say!("{timeline}")?;
    say!("  b has lock2 after {}, and that of etcd after {}", seconds(second), seconds(third))?;
    on_first.hears("PTTL lock1", "(integer) -1").await?; // it has no expiry
    say!("  somebody has to delete it by hand")?;
    on_first.hears("DEL lock1", "(integer) 1").await?;
    say!("only if the lock has no expiry")
}
