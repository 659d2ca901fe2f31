//! Two sessions want the same lock. The second one gets it when the first one unlocks it.
//!
//! ```text
//! cargo run -p lock
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect, no_argument, within};
use etcd_client::Client;
use lock::{Mutex, Session, unless_interrupted};
use tokio::time::Duration;

/// If this program is killed, its locks are free after this time, or half a second later.
const TTL: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("main.rs"));
    let client = connect().await?;
    let s1 = Session::open(&client, TTL).await?;
    let s2 = Session::open(&client, TTL).await?;
    let result = unless_interrupted(compete(client, &s1, &s2)).await;
    // Even after Ctrl-C, so that a waiter gets our lock at once. A second Ctrl-C ends the program.
    let close = async { Ok(tokio::join!(s1.close(), s2.close())) };
    let (closed1, closed2) = unless_interrupted(close).await?;
    result.and(closed1).and(closed2)
}

async fn compete(mut client: Client, s1: &Session, s2: &Session) -> Result<()> {
    let m1 = Mutex::new(s1, "/my-lock/");
    let m2 = Mutex::new(s2, "/my-lock/");

    let guard = m1.lock().await?;
    writeln!(stdout(), "acquired lock for s1")?;
    let waiter = tokio::spawn(async move { m2.lock().await });

    // Without this, s1 might unlock before s2 is in the queue, as in the Go tutorial's program.
    let mut queued = 0;
    while queued == 0 {
        ensure!(s2.is_alive(), "s2 lost its session before it could wait");
        let get = client.get(format!("/my-lock//{:x}", s2.lease()), None);
        queued = within(REQUEST_TIMEOUT, get).await.context("get failed")?.count();
    }
    writeln!(stdout(), "s2 is waiting")?;

    ensure!(guard.unlock().await?, "s1 lost the lock before it unlocked");
    writeln!(stdout(), "released lock for s1")?;

    let guard = waiter.await??;
    writeln!(stdout(), "acquired lock for s2")?;
    ensure!(guard.unlock().await?, "s2 lost the lock before it unlocked");
    Ok(())
}
