//! Measures how long a waiter waits for the lock when the holder unlocks, is killed or is frozen,
//! and when the leader of etcd is killed.
//!
//! ```text
//! cargo run -p lock --example takeover
//! ```
//!
//! It starts a cluster of three members, and the holder as a process of its own.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::{REQUEST_TIMEOUT, connect, connect_to, no_argument, within};
use etcd_client::{Client, GetOptions};
use etcd_server::{Cluster, bare_command, freeze};
use lock::{Guard, Mutex, Session};
use tokio::time::sleep;

const TTL: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if env::args().nth(1).is_some_and(|argument| argument == "hold") {
        return hold().await;
    }
    no_argument(include_str!("takeover.rs"));
    let mut cluster = Cluster::start()?;
    writeln!(stdout(), "3 members, TTL {TTL:?}                    a waiter has the lock after")?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let begin = Instant::now();
    holder.send("unlock")?;
    row("the holder unlocks", begin, waiter).await?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let begin = Instant::now();
    holder.send("close")?;
    row("the holder closes its session", begin, waiter).await?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let begin = Instant::now();
    holder.process.kill()?;
    row("the holder is killed (kill -9)", begin, waiter).await?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let begin = Instant::now();
    let frozen = freeze(holder.process.id())?;
    row("the holder is frozen", begin, waiter).await?;
    drop(frozen);
    holder.send("alive?")?;
    writeln!(stdout(), "  after that, the holder says that it is alive: {}", holder.line()?)?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let begin = Instant::now();
    let leader = cluster.leader().await?;
    cluster.members[leader].kill()?;
    holder.process.kill()?;
    row("holder and leader are killed", begin, waiter).await?;
    cluster.members[leader].restart()?;

    let (mut holder, waiter) = compete(&cluster).await?;
    let leader = cluster.leader().await?;
    let begin = Instant::now();
    cluster.members[leader].kill()?;
    write(&cluster).await?;
    writeln!(
        stdout(),
        "{:<46}{:>8.1?}",
        "the leader is killed: etcd writes again after",
        begin.elapsed()
    )?;
    sleep((2 * TTL).saturating_sub(begin.elapsed())).await;
    holder.send("alive?")?;
    let has_lock = holder.line()? == "true" && !waiter.is_finished();
    writeln!(stdout(), "  after two TTLs the holder still has the lock: {has_lock}")?;
    Ok(())
}

/// Starts a holder and a waiter. Returns when the holder has the lock and the waiter is in the
/// queue.
async fn compete(cluster: &Cluster) -> Result<(Holder, Waiter)> {
    let holder = Holder::start(&cluster.endpoints())?;
    let mut client = client(cluster).await?;
    let session = Session::open(&client, TTL).await?;
    let mutex = Mutex::new(&session, "takeover");
    let waiter = tokio::spawn(async move { mutex.lock().await.map(|guard| (session, guard)) });
    loop {
        let options = GetOptions::new().with_prefix().with_count_only();
        let queue = within(REQUEST_TIMEOUT, client.get("takeover/", Some(options))).await;
        if queue.is_ok_and(|queue| queue.count() == 2) {
            return Ok((holder, waiter));
        }
        ensure!(!waiter.is_finished(), "the waiter got the lock at once");
        sleep(Duration::from_millis(10)).await;
    }
}

type Waiter = tokio::task::JoinHandle<Result<(Session, Guard)>>;

/// Waits until the waiter has the lock, and prints how long this took since `begin`.
async fn row(what: &str, begin: Instant, waiter: Waiter) -> Result<()> {
    let (session, guard) = waiter.await??;
    writeln!(stdout(), "{what:<46}{:>8.1?}", begin.elapsed())?;
    guard.unlock().await?;
    session.close().await
}

/// Puts a key, and tries again until etcd accepts it.
async fn write(cluster: &Cluster) -> Result<()> {
    let mut client = client(cluster).await?;
    for _ in 0..1000 {
        if within(REQUEST_TIMEOUT, client.put("takeover", "", None)).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    bail!("etcd accepted no write in 1000 attempts")
}

async fn client(cluster: &Cluster) -> Result<Client> {
    let endpoints: Vec<_> = cluster.members.iter().map(|m| m.address().to_string()).collect();
    connect_to(endpoints).await
}

/// The process that holds the lock and carries out our orders.
struct Holder {
    process: Child,
    replies: BufReader<ChildStdout>,
}

impl Holder {
    fn start(endpoints: &str) -> Result<Holder> {
        let mut process = bare_command(env::current_exe()?)
            .arg("hold")
            .env("ETCDCTL_ENDPOINTS", endpoints)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let replies = BufReader::new(process.stdout.take().context("no stdout")?);
        let mut holder = Holder { process, replies };
        ensure!(holder.line()? == "locked", "the holder did not get the lock");
        Ok(holder)
    }

    fn send(&mut self, order: &str) -> Result<()> {
        let input = self.process.stdin.as_mut().context("no stdin")?;
        Ok(writeln!(input, "{order}")?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill(); // fails if the process has ended
        let _ = self.process.wait();
    }
}

/// The holder's process: takes the lock, then carries out the orders from stdin.
async fn hold() -> Result<()> {
    let session = Session::open(&connect().await?, TTL).await?;
    let guard = Mutex::new(&session, "takeover").lock().await?;
    writeln!(stdout(), "locked")?;
    loop {
        let order = tokio::task::spawn_blocking(|| stdin().lines().next()).await?;
        match order.transpose()?.as_deref() {
            Some("unlock") => return guard.unlock().await.map(drop),
            Some("close") => return session.close().await,
            Some("alive?") => writeln!(stdout(), "{}", session.is_alive())?,
            _ => return Ok(()), // the main program has ended
        }
    }
}
