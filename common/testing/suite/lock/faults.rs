//! The lock under crashes, pauses and failovers.
//!
//! ```text
//! cargo test -p suite lock::faults -- --nocapture
//! TORTURE_SEED=7 cargo test -p suite lock::faults -- --nocapture
//! cargo test --release -p suite -- --ignored --nocapture torture    # 100 seeds, half an hour
//! ```
//!
//! Five processes contend for one lock on a cluster of three. The holder increments a number in
//! each of three resources: it reads the number, works for a moment, and writes the number plus
//! one. The test kills holders (kill -9), or freezes them (SIGSTOP) until after their lease has
//! expired, always between reading and writing, where it does most harm. It also freezes other
//! processes wherever they are, and kills leaders of the cluster. All the time, a second task in
//! each process asks for the lock in the same session, and gives up after a few milliseconds.
//!
//! Every run prints its random seed. The seed sets the order and the lengths of the faults, but not
//! what exactly they interrupt.
//!
//! No contender is asked whether it had the lock, because a contender that was frozen believes that
//! it had. The resources judge: a write that isn't the next number has overwritten an update, which
//! is lost.
//!
//! - `plain` accepts every write. When a holder is frozen, it loses updates whatever the lock does.
//!   So it shows whether the faults could have done harm.
//! - `checked` refuses reads and writes with a token smaller than the largest so far.
//! - The third is a key in etcd, written by a transaction on the condition that the writer owns the
//!   lock.
//!
//! The last two must lose nothing, no token may be granted twice, updates must continue after each
//! fault, and the queue must be empty in the end. A second test, whose contenders don't lock, shows
//! that the judge finds damage. A run whose faults did no harm to `plain` proves nothing, and
//! fails.
#![cfg(unix)] // Windows has no SIGSTOP

use std::collections::HashSet;
use std::future::pending;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{env, mem, thread};

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect, within};
use etcd_client::{Client, Compare, GetOptions, Txn, TxnOp, WatchOptions};
use etcd_server::{Cluster, Server, freeze};
use fastrand::Rng;
use lock::{Guard, Session};
use testing::PATIENCE;
use tokio::time::{sleep, timeout};

use super::support::seed;

/// How long the next update may take: 2 s, the TTL, the election timeout that a new leader adds to
/// every lease, and the half second after which etcd looks for expired leases.
const UPDATE_LIMIT: Duration = Duration::from_secs(4);

const CONTENDERS: usize = 5;

/// The shortest TTL. etcd grants it only with a short election timeout.
const TTL: Duration = Duration::from_secs(1);
const TIMING: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

/// The faults of a run, in random order.
const FAULTS: [&str; 7] =
    ["freeze", "freeze", "freeze", "kill", "leader", "freeze and leader", "kill and leader"];

/// The key in etcd that is the third resource.
const COUNTER: &str = "counter";

#[tokio::test]
async fn no_update_is_lost_and_no_token_repeated() -> Result<()> {
    let seed = seed("TORTURE_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    torture(seed).await
}

#[tokio::test]
#[ignore = "takes half an hour"]
async fn torture_with_a_hundred_seeds() -> Result<()> {
    for seed in seed("TORTURE_SEED")?.unwrap_or(1)..=100 {
        torture(seed).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

async fn torture(seed: u64) -> Result<()> {
    println!("TORTURE_SEED={seed}");
    let mut torture = Torture::start(Rng::with_seed(seed))?;

    let mut faults = FAULTS;
    torture.dice.shuffle(&mut faults);
    for fault in faults {
        torture.round(fault).await?;
    }
    // If no fault has done harm yet, try some more.
    for _ in 0..10 {
        if !torture.resources.seen().is_harmed() {
            torture.round("freeze").await?;
        }
    }
    let summary = torture.summary();
    println!("{summary}");

    torture.contenders.clear();
    let history = history(&torture.cluster.endpoints()).await?;
    println!("{} updates in etcd", history.len());
    assert_eq!(torture.resources.seen().complaints(&history), [""; 0]);
    ensure!(
        torture.resources.seen().is_harmed(),
        "the faults did no harm in this run, so it proves nothing: {summary}"
    );
    torture.await_empty_queue().await
}

#[tokio::test]
async fn without_locks_the_judge_finds_each_damage() -> Result<()> {
    let server = Server::start()?;
    let endpoints = server.address().to_string();
    let resources = Arc::new(Resources::default());
    let contenders = (0..CONTENDERS)
        .map(|who| Contender::start(who, &endpoints, "off", &resources))
        .collect::<Result<Vec<_>>>()?;
    let damage = |seen: &Seen| seen.checked.lost > 20;
    resources.wait("20 updates are lost", damage)?;

    drop(contenders);
    let history = history(&endpoints).await?;
    let complaints = resources.seen().complaints(&history);
    println!("{complaints:?}");
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    Ok(())
}

/// The cluster, the contenders and the resources of a run.
struct Torture {
    dice: Rng,
    cluster: Cluster,
    resources: Arc<Resources>,
    contenders: Vec<Contender>,
}

impl Torture {
    fn start(dice: Rng) -> Result<Torture> {
        let mut torture = Torture {
            dice,
            cluster: Cluster::start_with(&TIMING)?,
            resources: Arc::default(),
            contenders: Vec::new(),
        };
        for who in 0..CONTENDERS {
            torture.contenders.push(torture.contender(who)?);
        }
        torture.await_update()?;
        Ok(torture)
    }

    fn contender(&self, who: usize) -> Result<Contender> {
        Contender::start(who, &self.cluster.endpoints(), "on", &self.resources)
    }

    /// Makes a fault, heals it, and waits until updates flow again.
    async fn round(&mut self, fault: &str) -> Result<()> {
        let [freezes, kills, leader_dies] =
            ["freeze", "kill", "leader"].map(|kind| fault.contains(kind));
        let length = Duration::from_millis(self.dice.u64(..500));

        let holder = self.resources.keep_reader_waiting()?;
        let victim = &mut self.contenders[holder].process;
        let mut frozen = Vec::new();
        if freezes {
            frozen.push(freeze(victim.id())?);
        }
        if kills {
            victim.kill()?;
        }
        let another = self.dice.usize(..CONTENDERS);
        if another != holder {
            frozen.push(freeze(self.contenders[another].process.id())?);
        }
        let leader = self.cluster.leader().await?;
        if leader_dies {
            self.cluster.members[leader].kill()?;
        }
        self.resources.let_reader_go();
        // This takes until the lease of a frozen or dead holder has expired. A majority of the
        // cluster runs, and at least one contender is neither frozen nor dead.
        let pause = self.await_update()?;
        sleep(length).await;

        if leader_dies {
            self.cluster.members[leader].restart()?;
        }
        drop(frozen);
        if kills {
            self.contenders[holder] = self.contender(holder)?;
        }
        let healed = self.await_update()?;
        println!("{fault}: an update after {pause:.1?}; healed, {healed:.1?} later another");
        Ok(())
    }

    /// Waits until the leases of the dead contenders have expired.
    async fn await_empty_queue(&self) -> Result<()> {
        let endpoints = self.cluster.endpoints();
        let mut client = common::connect_to(endpoints.split(',').collect::<Vec<_>>()).await?;
        let begin = Instant::now();
        loop {
            let all = GetOptions::new().with_all_keys().with_keys_only();
            let found = within(REQUEST_TIMEOUT, client.get("", Some(all))).await?;
            let left = found.kvs().iter().map(|kv| kv.key_str());
            let left: Vec<_> = left.filter(|key| !matches!(key, Ok(COUNTER))).collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "left in etcd: {left:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn await_update(&self) -> Result<Duration> {
        let before = self.resources.seen().checked.updates;
        let took =
            self.resources.wait("a contender writes", |seen| seen.checked.updates > before)?;
        ensure!(took < UPDATE_LIMIT, "the next update took {took:?}");
        Ok(took)
    }

    fn summary(&self) -> String {
        let seen = self.resources.seen();
        format!(
            "plain: {} of {} updates lost; checked: {} of {} lost, {} requests refused",
            seen.plain.lost,
            seen.plain.updates,
            seen.checked.lost,
            seen.checked.updates,
            seen.refused,
        )
    }
}

// ---- The contender: a process of its own

/// Runs in a process that [`Contender::start`] started.
#[tokio::test]
#[ignore = "the other tests start this as their contenders"]
async fn contender() -> Result<()> {
    let Ok(locking) = env::var("TORTURE_LOCKING") else {
        return Ok(());
    };
    let mut line = Line::open()?;
    loop {
        if let Err(trouble) = contend(locking == "on", &mut line).await {
            line.ask(format!("trouble {trouble:#}").replace('\n', " "))?;
            // Without this, attempts to connect to a dead member would follow each other at once.
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Updates the resources again and again, until something goes wrong.
async fn contend(locking: bool, line: &mut Line) -> Result<()> {
    let client = connect().await?;
    let session = Session::open(&client, TTL).await?;
    let mutex = lock::Mutex::new(&session, "torture");
    let impatient = async {
        while locking && session.is_alive() {
            sleep(Duration::from_millis(fastrand::u64(..50))).await;
            let _ = timeout(Duration::from_millis(fastrand::u64(..5)), mutex.lock()).await;
        }
        pending().await
    };
    tokio::select! {
        trouble = increment_forever(client, &mutex, locking, line) => trouble,
        never = impatient => never,
    }
}

async fn increment_forever(
    mut client: Client,
    mutex: &lock::Mutex,
    locking: bool,
    line: &mut Line,
) -> Result<()> {
    let mut dice = Rng::new();
    loop {
        let guard = if locking { Some(mutex.lock().await?) } else { None };
        // Without a lock, all contenders have the same token, and no condition for etcd.
        let token = guard.as_ref().map_or(1, Guard::token);
        let owner: Vec<Compare> = guard.iter().map(Guard::is_owner).collect();

        line.ask(format!("enter {token}"))?;
        let plain = line.ask(format!("read plain {token}"))?;
        let response = within(REQUEST_TIMEOUT, client.get(COUNTER, None)).await?;
        let counter = match response.kvs().first() {
            Some(kv) => kv.value_str()?.parse::<u64>()?,
            None => 0,
        };
        let checked = line.ask(format!("read checked {token}"))?;

        sleep(Duration::from_millis(dice.u64(5..25))).await; // the work

        // Checking `session.is_alive()` here would make late writes rarer, but not impossible.
        for (store, number) in [("plain", plain), ("checked", checked)] {
            if let Some(number) = number {
                line.ask(format!("write {store} {token} {}", number + 1))?;
            }
        }
        let put = TxnOp::put(COUNTER, (counter + 1).to_string(), None);
        let txn = Txn::new().when(owner).and_then([put]);
        within(REQUEST_TIMEOUT, client.txn(txn)).await?;

        if let Some(guard) = guard {
            guard.unlock().await?;
        }
    }
}

/// A contender's connection to the resources: a socket as its stdin, which is closed when the test
/// ends for whatever reason.
struct Line {
    socket: UnixStream,
    replies: Receiver<String>,
}

impl Line {
    fn open() -> Result<Line> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let lines = BufReader::new(socket.try_clone()?).lines();
        let (sender, replies) = mpsc::channel();
        thread::spawn(move || {
            for reply in lines.map_while(Result::ok) {
                let _ = sender.send(reply);
            }
            process::exit(0); // even while it waits for the lock or for etcd
        });
        Ok(Line { socket, replies })
    }

    /// Sends a question. Returns the number in the reply; there is none if the access was refused.
    fn ask(&mut self, question: String) -> Result<Option<u64>> {
        // One write, so that SIGKILL can't leave half a line.
        self.socket.write_all((question + "\n").as_bytes())?;
        Ok(self.replies.recv()?.parse().ok())
    }
}

/// A contender's process, killed when this is dropped.
struct Contender {
    process: Child,
}

impl Contender {
    fn start(
        who: usize,
        endpoints: &str,
        locking: &str,
        resources: &Arc<Resources>,
    ) -> Result<Contender> {
        let (here, there) = UnixStream::pair()?;
        let process = testing::command(env::current_exe()?)
            .args(["lock::faults::contender", "--exact", "--ignored"])
            .env("ETCDCTL_ENDPOINTS", endpoints)
            .env("TORTURE_LOCKING", locking)
            .stdin(OwnedFd::from(there))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let resources = Arc::clone(resources);
        thread::spawn(move || resources.serve(who, here)); // until the contender ends
        Ok(Contender { process })
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- The resources, and what they have seen

/// The two resources that live in the test.
#[derive(Default)]
struct Resources {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    plain: Store,
    checked: Store,
    /// The largest token that `checked` has seen, and how many accesses it has refused.
    newest: i64,
    refused: u64,
    /// All tokens granted, and how often a token was granted again.
    tokens: HashSet<i64>,
    granted_twice: u64,
    /// Whether to keep the next reader waiting for its reply, and the reader that waits.
    stop_reader: bool,
    stopped: Option<usize>,
    /// The last error that a contender reported.
    trouble: String,
}

#[derive(Default)]
struct Store {
    number: u64,
    updates: u64,
    lost: u64,
}

impl Resources {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it is locked")
    }

    /// Replies to one contender, line by line, until it ends.
    fn serve(&self, who: usize, socket: UnixStream) -> Result<()> {
        let mut replies = socket.try_clone()?;
        for question in BufReader::new(socket).lines() {
            let mut seen = self.seen();
            let number = seen.reply(who, &question?)?;
            self.changed.notify_all();
            let seen = self.changed.wait_while(seen, |seen| seen.stopped == Some(who));
            drop(seen.expect("nothing panics while it is locked"));
            match number {
                Some(number) => writeln!(replies, "{number}")?,
                None => writeln!(replies, "-")?,
            }
        }
        Ok(())
    }

    /// Waits until the condition is met. Returns how long that took.
    fn wait(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> Result<Duration> {
        let begin = Instant::now();
        let (seen, end) = self
            .changed
            .wait_timeout_while(self.seen(), PATIENCE, |seen| !condition(seen))
            .expect("nothing panics while it is locked");
        ensure!(
            !end.timed_out(),
            "waited {PATIENCE:?} until {what}; the last error of a contender: {}",
            seen.trouble
        );
        Ok(begin.elapsed())
    }

    /// Waits until a contender reads, and keeps its reply back. Returns the contender.
    fn keep_reader_waiting(&self) -> Result<usize> {
        self.seen().stop_reader = true;
        self.wait("a contender reads", |seen| seen.stopped.is_some())?;
        self.seen().stopped.context("it was let go")
    }

    fn let_reader_go(&self) {
        self.seen().stopped = None;
        self.changed.notify_all();
    }
}

impl Seen {
    /// Returns whether the faults have done harm to the unprotected resource.
    fn is_harmed(&self) -> bool {
        self.plain.lost > 0 && self.refused > 0
    }

    fn reply(&mut self, who: usize, question: &str) -> Result<Option<u64>> {
        let words: Vec<&str> = question.split(' ').collect();
        match words[..] {
            ["enter", token] => {
                self.granted_twice += u64::from(!self.tokens.insert(token.parse()?));
            }
            ["read" | "write", "checked", token, ..] if self.is_old(token.parse()?) => {
                self.refused += 1;
            }
            ["read", store, _] => {
                // This is a contender's last read before it works and writes.
                if store == "checked" && mem::take(&mut self.stop_reader) {
                    self.stopped = Some(who);
                }
                return Ok(Some(self.store(store).number));
            }
            ["write", store, _, number] => self.store(store).write(number.parse()?),
            _ => self.trouble = question.to_owned(),
        }
        Ok(None)
    }

    /// Returns whether a larger token was seen before. Reads count, too: after a holder's read, no
    /// earlier holder can write.
    fn is_old(&mut self, token: i64) -> bool {
        self.newest = self.newest.max(token);
        token < self.newest
    }

    fn store(&mut self, name: &str) -> &mut Store {
        match name {
            "plain" => &mut self.plain,
            _ => &mut self.checked,
        }
    }

    /// Returns the damage that the resources have seen.
    fn complaints(&self, history: &[u64]) -> Vec<String> {
        let mut etcd = Store::default();
        history.iter().for_each(|&number| etcd.write(number));
        let found = [
            (self.granted_twice, "tokens granted twice"),
            (self.checked.lost, "updates lost with tokens checked"),
            (etcd.lost, "updates lost in etcd"),
            (u64::from(history.is_empty()), "key in etcd never written"),
        ];
        let found = found.iter().filter(|(count, _)| *count > 0);
        found.map(|(n, what)| format!("{n} {what}")).collect()
    }
}

impl Store {
    fn write(&mut self, number: u64) {
        // Any other number comes from a writer that has missed an update.
        self.lost += u64::from(number != self.number + 1);
        self.updates += 1;
        self.number = number;
    }
}

/// Returns all numbers that the key in etcd has had, in order.
async fn history(endpoints: &str) -> Result<Vec<u64>> {
    let mut client = Client::connect(endpoints.split(',').collect::<Vec<_>>(), None).await?;
    let response = within(PATIENCE, client.get(COUNTER, None)).await?;
    let last = response.kvs().first().map_or(0, |kv| kv.mod_revision());
    let from_the_start = WatchOptions::new().with_start_revision(1);
    let watch = client.watch(COUNTER, Some(from_the_start));
    let mut changes = within(PATIENCE, watch).await?;
    let (mut history, mut revision) = (Vec::new(), 0);
    while revision < last {
        let message = within(PATIENCE, changes.message()).await?;
        for event in message.context("the watch ended")?.events() {
            let kv = event.kv().context("an event without a key")?;
            history.push(kv.value_str()?.parse()?);
            revision = kv.mod_revision();
        }
    }
    Ok(history)
}
