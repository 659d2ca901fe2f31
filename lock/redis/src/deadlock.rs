//! A lock whose holder is killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::connect_to;
use etcd_server::Server;
use exercise::{Symbol, Timeline};
use lock::{Mutex, Session};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::client::LIMIT;
use crate::holder::{Holder, TTL};
use crate::server::Redis;
use crate::{seconds, sentence};

/// How long b must not get the lock without an expiry. The other two locks are free before that:
/// etcd needs the TTL and half a second.
const NO_LOCK_FOR: Duration = Duration::from_secs(3);

const WAITS: Symbol = Symbol('─', '-', "b waits for the lock");
const HAS: Symbol = Symbol('█', '#', "b has the lock");

pub async fn show() -> Result<()> {
    sentence("redis: a deadlock, if an error or a timeout keeps the lock from being released")?;
    let (redis, etcd) = (Redis::start("").await?, spawn_blocking(Server::start).await??);
    let (mut on_first, mut on_second) = (redis.client("b").await?, redis.client("b").await?);
    // Only a's TTL matters: the lock is free once that has passed.
    let session = Session::open(&connect_to([etcd.endpoint()]).await?, 5 * TTL).await?;
    let timeline = Timeline::default();
    let rows = ["lock1", "lock2", "etcd"];

    let holders = [
        Holder::start(redis.address, "SET lock1 a NX")?,
        Holder::start(redis.address, "SET lock2 a NX PX 2000")?,
        Holder::start(etcd.address(), "")?,
    ];
    drop(holders);
    say!("  a is killed while it holds all three")?;
    rows.iter().for_each(|row| timeline.note(row, WAITS));
    let begin = Instant::now();
    let first = on_first.expect_no_lock_for("SET lock1 b NX", NO_LOCK_FOR);
    let second = async {
        on_second.wait_for_lock("SET lock2 b NX PX 2000").await?;
        timeline.note("lock2", HAS);
        Ok(begin.elapsed())
    };
    let third = async {
        let _guard = timeout(LIMIT, Mutex::new(&session, "lock").lock())
            .await
            .context("unexpected: b still waits")??;
        timeline.note("etcd", HAS);
        Ok(begin.elapsed())
    };
    let ((), second, third) = tokio::try_join!(first, second, third)?;
    say!("{timeline}")?;
    say!("  b gets lock2 after {}, and etcd's lock after {}", seconds(second), seconds(third))?;
    on_first.expect_reply("PTTL lock1", "(integer) -1").await?; // -1: no expiry
    say!("  somebody has to delete it by hand")?;
    on_first.expect_reply("DEL lock1", "(integer) 1").await?;
    say!("only if the lock has no expiry")
}
