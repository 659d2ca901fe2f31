//! Measures how fast a lock passes on: our lock, and the locks of three crates on crates.io. The
//! four take turns, so that other work on the machine disturbs all of them.
//!
//! ```text
//! cargo run --release --manifest-path lock/crates/Cargo.toml
//! ```
//!
//! The build needs `protoc`, on the PATH or with its path in PROTOC.

use std::cell::RefCell;
use std::io::{Write, stdout};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::{CONNECT_TIMEOUT, no_argument};
use etcd_server::Server;
use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use lock::{Mutex, Session};
use rust_etcd_utils::lock::spawn_lock_manager;
use tokio::runtime::Builder;
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};
use tokio_etcd_lock::acquire_lease;

const CRATES: [&str; 4] = ["ours", "rust-etcd-utils", "elock", "tokio-etcd-lock"];
const CONTENDERS: [usize; 2] = [2, 8];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

const NAME: &str = "lock";
/// How long a contender keeps the lock.
const HOLD: Duration = Duration::from_millis(5);
/// The one TTL that elock has.
const TTL: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    no_argument(include_str!("main.rs"));
    let cores = available_parallelism()?;
    writeln!(stdout(), "One etcd and all contenders on {cores} cores; {HOLD:?} with the lock;")?;
    writeln!(stdout(), "{ROUNDS} rounds of {ROUND:?} for each line, in turn.\n")?;
    let mut lines = Vec::new();
    for contenders in CONTENDERS {
        lines.extend(CRATES.map(|name| (name, contenders, Vec::new())));
    }
    for _ in 0..ROUNDS {
        for (name, contenders, rounds) in &mut lines {
            let turns = measure(name, *contenders);
            rounds.push(turns.with_context(|| format!("cannot measure {name}"))?);
        }
    }
    writeln!(stdout(), "contenders                       locks   hand-over, ms   turns of one")?;
    writeln!(stdout(), "                            per second     p50    p99   fewest   most")?;
    lines.iter().try_for_each(|(name, contenders, rounds)| print(name, *contenders, rounds))
}

/// The time from when a contender had the lock until it began to unlock.
struct Turn {
    contender: usize,
    locked: Instant,
    unlocking: Instant,
}

/// A client of etcd that wants the lock again and again.
struct Contender<'a> {
    number: usize,
    endpoint: &'a str,
    start: &'a Barrier,
    turns: &'a RefCell<Vec<Turn>>,
}

impl Contender<'_> {
    /// Works as long as the contender has the lock.
    async fn work(&self) {
        let locked = Instant::now();
        sleep(HOLD).await;
        let turn = Turn { contender: self.number, locked, unlocking: Instant::now() };
        self.turns.borrow_mut().push(turn);
    }

    async fn contend(self, name: &str) -> Result<()> {
        match name {
            "ours" => self.ours().await,
            "rust-etcd-utils" => self.rust_etcd_utils().await,
            "elock" => self.elock().await,
            "tokio-etcd-lock" => self.tokio_etcd_lock().await,
            _ => bail!("there is no such crate"),
        }
    }

    async fn ours(self) -> Result<()> {
        let client = etcd_client::Client::connect([self.endpoint], None).await?;
        let session = Session::open(&client, TTL).await?;
        let mutex = Mutex::new(&session, NAME);
        self.start.wait().await;
        loop {
            let guard = mutex.lock().await?;
            self.work().await;
            ensure!(guard.unlock().await?, "the lock was lost");
        }
    }

    async fn rust_etcd_utils(self) -> Result<()> {
        let client = etcd_client_18::Client::connect([self.endpoint], None).await?;
        let (_, manager) = spawn_lock_manager(client);
        self.start.wait().await;
        loop {
            let lock = manager.lock(NAME, TTL).await?;
            self.work().await;
            drop(lock); // unlocks in the background; there is no other way
        }
    }

    async fn elock(self) -> Result<()> {
        let mut manager = elock::LockManager::new(self.endpoint).init().await;
        let mut lock = manager.create_lock(NAME).await;
        self.start.wait().await;
        loop {
            lock.lock(ROUND).await.map_err(|error| anyhow!("{error}"))?;
            self.work().await;
            lock.unlock().await.map_err(|error| anyhow!("{error}"))?;
        }
    }

    async fn tokio_etcd_lock(self) -> Result<()> {
        let mut client = etcd_client_15::Client::connect([self.endpoint], None).await?;
        let mut lease = acquire_lease(&mut client, TTL.as_secs() as i64).await?;
        self.start.wait().await;
        loop {
            let guard = lease.lock(&mut client, NAME).await?;
            self.work().await;
            guard.release(&mut client).await?;
        }
    }
}

/// Measures one round. It has an etcd and a runtime of its own, because leases and tasks that a
/// crate leaves behind would slow down the next round.
fn measure(name: &str, contenders: usize) -> Result<Vec<Turn>> {
    let etcd = Server::start()?;
    let (endpoint, start) = (&*etcd.endpoint(), &Barrier::new(contenders + 1));
    let turns = RefCell::new(Vec::new());
    // Runs the contenders in the order in which etcd responds to them. `try_join_all` would always
    // run the first one first, and where nobody queues, that one would get the lock more often.
    let mut contend = (0..contenders)
        .map(|number| Contender { number, endpoint, start, turns: &turns }.contend(name))
        .collect::<FuturesUnordered<_>>();
    let clock = async {
        timeout(CONNECT_TIMEOUT, start.wait()).await.context("etcd does not respond")?;
        sleep(ROUND).await;
        Ok(())
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            failed = contend.try_next() => failed.map(drop),
            ended = clock => ended,
        }
    })?;
    Ok(turns.take())
}

/// Prints a line: the figures of all rounds together.
fn print(name: &str, contenders: usize, rounds: &[Vec<Turn>]) -> Result<()> {
    let (mut counts, mut handovers) = (vec![0; contenders], Vec::new());
    for turns in rounds {
        turns.iter().for_each(|turn| counts[turn.contender] += 1);
        for pair in turns.windows(2) {
            ensure!(pair[0].unlocking <= pair[1].locked, "{name}: two contenders had the lock");
            if pair[0].contender != pair[1].contender {
                handovers.push(pair[1].locked - pair[0].unlocking);
            }
        }
    }
    counts.sort();
    handovers.sort();
    ensure!(!handovers.is_empty(), "{name}: the lock never passed on");
    let ms = |percent: usize| handovers[handovers.len() * percent / 100].as_secs_f64() * 1e3;
    let rate = counts.iter().sum::<u32>() as f64 / (ROUND * ROUNDS as u32).as_secs_f64();
    write!(stdout(), "{contenders:>10}  {name:<15} {rate:>10.0} {:>7.1} {:>6.1}", ms(50), ms(99))?;
    writeln!(stdout(), " {:>8} {:>6}", counts[0], counts[contenders - 1])?;
    Ok(())
}
