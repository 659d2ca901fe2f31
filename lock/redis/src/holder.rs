//! A holder of a lock in a process of its own, which can be killed.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::connect_to;
use etcd_server::bare_command;
use lock::{Mutex, Session};

use crate::client::Client;

/// Tells a process to be a holder: the address of a server, and the command for a redis.
const LOCK: &str = "REDIS_LAB_HOLDS";

/// The shortest that etcd grants by default.
pub const TTL: Duration = Duration::from_secs(2);

/// A process that has a lock. Dropping this kills it.
pub struct Holder(Child);

impl Holder {
    /// Starts one that takes a lock with this command at a redis, or the lock of an etcd if there is no
    /// command. Prints that.
    pub fn start(server: SocketAddr, set: &str) -> Result<Holder> {
        let mut command = bare_command(env::current_exe()?);
        command.env(LOCK, format!("{server} {set}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Holder(command.spawn()?);
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line.trim_end().ends_with("OK"), "not what was to be shown: a has no lock");
        say!("  a> {}", line.trim_end())?;
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Takes a lock, says so, and keeps it until stdin ends, if this process was told to be a holder.
pub async fn hold() -> Result<bool> {
    let Ok(lock) = env::var(LOCK) else { return Ok(false) };
    let (server, set) = lock.split_once(' ').context("which lock?")?;
    let mut guard = None;
    if set.is_empty() {
        let session = Session::open(&connect_to([server]).await?, TTL).await?;
        guard = Some(Mutex::new(&session, "lock").lock().await?);
        writeln!(stdout(), "the lock of etcd, TTL 2 s   OK")?;
    } else {
        let answer = Client::connect("a", server.parse()?).await?.ask(set).await?;
        writeln!(stdout(), "{set}   {answer}")?;
    }
    // The session renews its lease meanwhile.
    tokio::task::spawn_blocking(|| stdin().lines().next()).await?;
    drop(guard);
    Ok(true)
}
