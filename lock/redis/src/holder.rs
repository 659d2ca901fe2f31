//! A holder of a lock, as a process of its own that can be killed.

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

/// The variable that makes a process a holder. Its value is the address of a server and, for a
/// redis, the command.
const HOLDER: &str = "REDIS_LAB_HOLDS";

/// The shortest TTL that etcd grants by default.
pub const TTL: Duration = Duration::from_secs(2);

/// A process that holds a lock. Dropping this kills it.
pub struct Holder(Child);

impl Holder {
    /// Starts a holder, which takes a lock with the command `set` at a redis or, if `set` is empty,
    /// etcd's lock. Prints the command and the reply.
    pub fn start(server: SocketAddr, set: &str) -> Result<Holder> {
        let mut command = bare_command(env::current_exe()?);
        command.env(HOLDER, format!("{server} {set}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Holder(command.spawn()?);
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line.trim_end().ends_with("OK"), "unexpected: a has no lock");
        say!("  a> {}", line.trim_end())?;
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill(); // fails if the process has ended
        let _ = self.0.wait();
    }
}

/// If this process is a holder, takes a lock, prints that, and keeps the lock until stdin ends.
/// Returns whether it is a holder.
pub async fn hold() -> Result<bool> {
    let Ok(lock) = env::var(HOLDER) else { return Ok(false) };
    let (server, set) =
        lock.split_once(' ').context("cannot take a lock: the variable has no space")?;
    let mut guard = None;
    if set.is_empty() {
        let session = Session::open(&connect_to([server]).await?, TTL).await?;
        guard = Some(Mutex::new(&session, "lock").lock().await?);
        writeln!(stdout(), "etcd's lock, TTL 2 s   OK")?;
    } else {
        let reply = Client::connect("a", server.parse()?).await?.ask(set).await?;
        writeln!(stdout(), "{set}   {reply}")?;
    }
    // Not on this thread, where the session renews its lease.
    tokio::task::spawn_blocking(|| stdin().lines().next()).await?;
    drop(guard);
    Ok(true)
}
