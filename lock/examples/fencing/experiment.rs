//! The experiment of the exercise `fencing`: two writers under a lock, one of them paused.
//!
//! Fix `yours.rs`, not this file.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::REQUEST_TIMEOUT;
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, Fault, Network, Scene, Steps, Verdict, becomes, blocking, broken,
    connect_intercepted, held, retry_if_slow, retry_if_slow_or_counted, returned_error, say,
    still_waits, too_slow,
};
use lock::Session;
use tokio::task::spawn_local;
use tokio::time::Instant;

/// The function that the experiment tries.
pub type Add = for<'a> fn(&'a mut Client, &'a Session, &'a str, &'a str) -> BoxFuture<'a, bool>;

const LOCK: &str = "lock";
const KEY: &str = "number";
/// The number before the writers add. As text, the next number is smaller: "10" comes before "9".
const NUMBER: &str = "9";
/// A value that isn't a number.
const NOT_A_NUMBER: &str = "many";

/// Long enough that no session has to renew, so a client sends only the requests of `add`.
const TTL: Duration = Duration::from_secs(10);
/// How long an answer may wait for a response that was lost.
const LOSS_LIMIT: Duration = Duration::from_secs(3);

pub async fn run(scene: Scene, add: Add) -> Result<Verdict> {
    // A private etcd, which begins at revision 1.
    let server = blocking(Server::start).await?;
    let (etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut writers = Writers { etcd, address, scene, add, write: 0 };
    writers.etcd.put(KEY, NUMBER).await?;
    // An answer that cannot even add alone is broken before any line is printed.
    retry_if_slow(async |_| writers.add_alone("a writer that was not paused").await).await?;
    // An answer may compare fencing tokens, which are revisions, as text: "10" comes before "9".
    while writers.etcd.put(KEY, NUMBER).await? < 9 {}
    let who = "a writer with a token of two digits";
    retry_if_slow_or_counted(async |_| writers.add_alone(who).await).await?;
    writers.add_to_text().await?;

    say!("two writers add 1 to a number, both under the same lock")?;
    say!("the first is paused, its lease ends if it has the lock, and then the second adds")?;
    let (mut paused, mut refused) = (0, 0);
    while let Some((writes, grown)) =
        retry_if_slow_or_counted(async |_| writers.add_paused(paused + 1, false).await).await?
    {
        paused += 1;
        say!("paused before its request {paused}: {writes} written, the number grows by {grown}")?;
        refused += usize::from(writes < 2);
        check_lost((writes, grown))?;
    }
    say!("its lease ends in any case; the second adds before this and each later request")?;
    for nth in 1..=paused {
        retry_if_slow(async |_| writers.add_paused(nth, true).await)
            .await?
            .map_or(Ok(()), check_lost)?;
    }
    say!("the network loses a write of the first, or the response to it")?;
    writers.add_with_loss("the write was lost", Fault::RequestLost, false).await?;
    writers.add_with_loss("the response was lost", Fault::ResponseLost, false).await?;
    say!("again, but now the lease of the first ends after that, and the second adds")?;
    writers.add_with_loss("the write was lost", Fault::RequestLost, true).await?;
    writers.add_with_loss("the response was lost", Fault::ResponseLost, true).await?;
    say!("a write of the first arrives after its next request")?;
    writers.add_with_loss("the write was late", Fault::Late, false).await?;
    held(format!("nothing was lost; of {paused} paused writers, etcd refused {refused}"))
}

/// Compares what a writer returned with what it did.
fn judge(who: &str, returned: bool, has_added: bool) -> Result<()> {
    match (returned, has_added) {
        (true, false) => broken(
            format!("{who} returned true, but it had not added"),
            "what etcd's response says, apart from having arrived",
        ),
        (false, true) => broken(
            format!("{who} returned false, but it had added"),
            "how your code knows whether it has added",
        ),
        _ => Ok(()),
    }
}

fn check_lost((writes, grown): (i64, i64)) -> Result<()> {
    match writes - grown {
        ..=0 => Ok(()),
        lost => broken(
            format!(
                "{writes} additions were written, but the number grew by {grown} ({lost} lost)"
            ),
            "what has happened to the number since your code read it",
        ),
    }
}

/// The outcome of the first writer. Requests that it still sends in the background are paused.
struct First {
    returned: Result<bool>,
    requests: usize,
    /// The number of the request that wrote, counted from 1, or 0 if there was none.
    write: usize,
    /// How many times the number was written.
    writes: i64,
    /// How much the number has grown.
    grown: i64,
    steps: Steps,
    session: Session,
    network: Network,
}

struct Writers {
    etcd: Etcd,
    address: SocketAddr,
    scene: Scene,
    add: Add,
    /// The request with which a writer that isn't paused writes, as in [`First`].
    write: usize,
}

impl Writers {
    /// Frees the lock, opens the first writer's session, and then pauses its requests.
    async fn open(&mut self) -> Result<(BoxFuture<'static, bool>, Session, Network)> {
        for lease in self.queue().await? {
            self.etcd.revoke(lease).await?; // left by an earlier attempt
        }
        let (mut client, mut network) = connect_intercepted(self.address).await?;
        network.open();
        let session = Session::open(&client, TTL).await?;
        network.pause();
        let (add, own) = (self.add, session.clone());
        Ok((Box::pin(async move { add(&mut client, &own, LOCK, KEY).await }), session, network))
    }

    /// Lets the first writer add, and pauses it before request `nth`, counted from 1. During the
    /// pause its lease ends if it has the lock, and the second writer adds. With `again`, the lease
    /// ends in any case, and the second writer also adds before each later request.
    async fn add_first(&mut self, nth: usize, again: bool) -> Result<First> {
        let before = self.read().await?;
        let (adding, session, mut network) = self.open().await?;
        let mut adding = spawn_local(adding);
        let (mut requests, mut write, mut steps) = (0, 0, Steps::default());
        let returned = loop {
            let request = tokio::select! {
                request = network.request() => request.context("the writer has no client")?,
                returned = &mut adding => break returned?,
            };
            requests += 1;
            if requests == nth {
                // To the writer, a revoked lease is like an expired one, and it saves the wait.
                let leases = if again { vec![session.lease()] } else { self.queue().await? };
                for lease in leases {
                    self.etcd.revoke(lease).await?;
                    steps.add("etcd", "ends its lease");
                }
            }
            if requests == nth || again && requests > nth {
                steps.add("second", format!("adds 1: {}", self.add_second().await?));
            }
            let is_get = network.sent().last_is("Range");
            let ((_, old), queue) = (self.read().await?, self.queue().await?.len());
            // There is no response if the writer has stopped waiting for it.
            let Some(_response) = request.response().await else { continue };
            let ((number, writes), longer) = (self.read().await?, self.queue().await?.len());
            match () {
                () if writes > old => {
                    write = if write == 0 { requests } else { write };
                    steps.add("first", format!("put {number}"));
                }
                () if longer > queue => steps.add("first", "lock"),
                () if longer < queue => steps.add("first", "unlock"),
                () if is_get => steps.add("first", format!("get {number}")),
                () if queue > 0 => steps.add("first", "txn"), // It has changed nothing.
                () => {}
            }
        };
        let now = self.read().await?;
        let (grown, writes) = (now.0 - before.0, now.1 - before.1);
        Ok(First { returned, requests, write, writes, grown, steps, session, network })
    }

    /// Lets the first writer add without a pause.
    async fn add_alone(&mut self, who: &str) -> Result<()> {
        let mut first = self.add_first(0, false).await?;
        let returned = first.returned.or_else(returned_error)?;
        judge(who, returned, first.write > 0)?;
        if !returned {
            return wrongly_refused(who);
        }
        if first.grown != 1 {
            let what = format!("a writer that was not paused added {}, not 1", first.grown);
            return broken(what, "what your code writes");
        }
        if self.etcd.get(KEY).await?.is_some_and(|kv| kv.lease() != 0) {
            return broken(
                "the number is on a lease, so it will disappear",
                "which options your code writes with",
            );
        }
        // A guard that is dropped unlocks in the background.
        first.network.open();
        if !becomes(REQUEST_TIMEOUT, async || Ok(self.queue().await?.is_empty())).await? {
            let what = format!("{REQUEST_TIMEOUT:?} after add returned, the lock is not free");
            return too_slow(what, "what the next writer waits for");
        }
        drop(first.session); // Not earlier, because the end of the session frees the lock.
        self.write = first.write;
        Ok(())
    }

    /// Lets the second writer add to a value that isn't a number.
    async fn add_to_text(&mut self) -> Result<()> {
        self.etcd.put(KEY, NOT_A_NUMBER).await?;
        let returned = self.second_returns().await?;
        let found = self.etcd.get(KEY).await?;
        if returned.is_ok() || found.is_none_or(|kv| kv.value() != NOT_A_NUMBER.as_bytes()) {
            let what = format!("the value was {NOT_A_NUMBER:?}, but add added 1 to it");
            return broken(what, "what your code does with an error");
        }
        Ok(())
    }

    /// Resets the number and calls [`add_first`](Writers::add_first). Returns how many times the
    /// number was written and how much it has grown, or `None` if the first sends fewer requests.
    async fn add_paused(&mut self, nth: usize, again: bool) -> Result<Option<(i64, i64)>> {
        self.etcd.put(KEY, NUMBER).await?;
        let first = self.add_first(nth, again).await?;
        let is_lost = first.writes > first.grown;
        // This also removes the steps of an attempt that was too slow.
        self.scene.show(if is_lost { first.steps } else { Steps::default() });
        if first.requests < nth {
            first.returned.or_else(returned_error)?;
            return Ok(None);
        }
        if let (Ok(returned), false) = (first.returned, is_lost) {
            judge("the first writer", returned, first.write > 0)?;
        }
        Ok(Some((first.writes, first.grown)))
    }

    /// Lets the second writer add. Returns the number after that.
    async fn add_second(&mut self) -> Result<i64> {
        let since = Instant::now();
        if !self.second_returns().await?.or_else(returned_error)? {
            return wrongly_refused("the second writer");
        }
        let elapsed = since.elapsed();
        ensure!(elapsed < REQUEST_TIMEOUT / 2, "the second writer took too long: {elapsed:.1?}");
        Ok(self.read().await?.0)
    }

    async fn second_returns(&mut self) -> Result<Result<bool>> {
        let session = Session::open(&self.etcd.0, TTL).await?;
        Ok((self.add)(&mut self.etcd.0.clone(), &session, LOCK, KEY).await)
    }

    /// Lets the first writer add, with a fault at the request that writes. With `overtaken`, its
    /// lease ends after that, and the second writer adds.
    async fn add_with_loss(&mut self, what: &str, fault: Fault, overtaken: bool) -> Result<()> {
        self.etcd.put(KEY, NUMBER).await?;
        let (adding, session, mut network) = self.open().await?;
        let (write, before) = (self.write, self.read().await?.0);
        let others = async || {
            if overtaken {
                self.etcd.revoke(session.lease()).await?;
                self.add_second().await?;
            }
            Ok(())
        };
        let run =
            network.play_for(LOSS_LIMIT + REQUEST_TIMEOUT, fault, write, adding, others).await?;
        let Some(returned) = &run.said else {
            let look = "which of your requests has no limit, or why your code tries again";
            return still_waits(LOSS_LIMIT, look);
        };
        match (returned, self.read().await?.0 - before - i64::from(overtaken)) {
            (_, added @ 2..) => broken(
                format!("{what}, and add added {added}"),
                "what your code does again, and whether the first time really did nothing",
            ),
            (Ok(true), 0) => broken(
                format!("{what}: add returned true, but it had not added"),
                "what your code does with an error, or who else can have written the number",
            ),
            (Ok(false), 1) => broken(
                format!("{what}: add returned false, but it had added"),
                "what your code knows when no response has come",
            ),
            _ => Ok(()), // An answer that can't know whether it has added returns an error.
        }
    }

    /// Returns the number, and how many times it was written.
    async fn read(&mut self) -> Result<(i64, i64)> {
        let kv = self.etcd.get(KEY).await?.context("the number is gone")?;
        Ok((kv.value_str()?.parse()?, kv.version()))
    }

    /// Returns the leases of the holder of the lock and of its waiters.
    async fn queue(&mut self) -> Result<Vec<i64>> {
        let queue = self.etcd.get_all(&format!("{LOCK}/")).await?;
        Ok(queue.iter().map(|kv| kv.lease()).collect())
    }
}

fn wrongly_refused<T>(who: &str) -> Result<T> {
    // On a slow machine, the session may have been lost.
    let what = format!("{who} returned false, although it had the lock");
    too_slow(what, "the condition under which your code writes")
}
