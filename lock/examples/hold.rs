//! Holds the lock of the chapter until Ctrl-C, and prints how many wait for it.
//!
//! ```text
//! cargo run -p lock --example hold
//! ```

use std::io::{Write, stdout};
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::{REQUEST_TIMEOUT, connect, no_argument, within};
use etcd_client::{Client, GetOptions};
use lock::{Mutex, Session};
use tokio::signal::ctrl_c;
use tokio::time::sleep;

/// If this program is killed, its lock is free after this time, or half a second later.
const TTL: Duration = Duration::from_secs(5);

/// How often to check how many contenders wait.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("hold.rs"));
    let client = connect().await?;
    let session = Session::open(&client, TTL).await?;
    eprintln!("kill this process with: kill -9 {}", process::id());
    let result = tokio::select! {
        pressed = ctrl_c() => pressed.context("cannot wait for Ctrl-C"),
        ended = hold(client, &session) => ended,
    };
    // Closing revokes the lease, so that a waiter gets the lock at once and not after the TTL.
    tokio::select! {
        closed = session.close() => result.and(closed),
        _ = ctrl_c() => bail!("interrupted"), // the second Ctrl-C
    }
}

async fn hold(mut client: Client, session: &Session) -> Result<()> {
    let mutex = Mutex::new(session, "/my-lock/");
    let guard = match mutex.try_lock().await? {
        Some(guard) => guard,
        None => {
            writeln!(stdout(), "waiting for the lock")?;
            mutex.lock().await?
        }
    };
    writeln!(stdout(), "acquired the lock; Ctrl-C releases it")?;

    let mut shown = 0;
    loop {
        sleep(POLL_INTERVAL).await;
        let below = GetOptions::new().with_prefix().with_keys_only();
        let get = client.get("/my-lock//", Some(below));
        ensure!(session.is_alive(), "the session is lost");
        let Ok(queue) = within(REQUEST_TIMEOUT, get).await else {
            continue; // etcd may come back while the session lives
        };
        let first = queue.kvs().iter().map(|kv| kv.create_revision()).min();
        ensure!(first == Some(guard.token()), "the lock is lost");
        let waiting = queue.count() - 1;
        if waiting != shown {
            writeln!(stdout(), "{waiting} waiting")?;
            shown = waiting;
        }
    }
}
