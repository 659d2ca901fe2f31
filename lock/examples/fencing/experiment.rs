//! The experiment of the exercise `fencing`: two writers under a lock, one of them paused.
//!
//! Repair `yours.rs`, not this file.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::REQUEST_TIMEOUT;
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, Fault, Network, Scene, Steps, Verdict, becomes, blocking, broken,
    connect_intercepted, held, retry_if_slow, retry_if_slow_or_counted, returned_error, say,
    still_waits,
};
use lock::Session;
use tokio::task::spawn_local;
use tokio::time::Instant;

/// The function that is tried.
pub type Add = for<'a> fn(&'a mut Client, &'a Session, &'a str, &'a str) -> BoxFuture<'a, bool>;

const LOCK: &str = "lock";
const KEY: &str = "number";
/// The number before anybody adds to it. As text, 10 comes before it.
const NUMBER: &str = "9";
/// A value that isn't a number.
const NONSENSE: &str = "many";

/// The first renewal is due after a third: until then a client sends what `add` sends.
const TTL: Duration = Duration::from_secs(10);
/// How long an answer may wait for what is lost.
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn run(scene: Scene, add: Add) -> Result<Verdict> {
    // A private etcd, which begins at revision 1.
    let server = blocking(Server::start).await?;
    let (etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut writers = Writers { etcd, address, scene, add, write: 0 };
    writers.etcd.put(KEY, NUMBER).await?;
    // If that works, it is not worth a line.
    retry_if_slow(async |_| writers.add_alone("a writer that was not paused").await).await?;
    // Fencing tokens are revisions. As text, the next one is smaller: 10 comes before 9.
    while writers.etcd.put(KEY, NUMBER).await? < 9 {}
    let who = "a writer that was not paused, with a token of two digits,";
    retry_if_slow_or_counted(async |_| writers.add_alone(who).await).await?;
    writers.add_to_nonsense().await?;

    say!("two writers add 1 to a number, each under the same lock")?;
    say!("the first is paused, and if it has the lock, its lease ends; then the second adds")?;
    let (mut paused, mut refused) = (0, 0);
    while let Some((writes, grown)) =
        retry_if_slow_or_counted(async |_| writers.add_paused(paused + 1, false).await).await?
    {
        paused += 1;
        say!("paused before its request {paused}: {writes} written, the number grows by {grown}")?;
        refused += usize::from(writes < 2);
        check_lost((writes, grown))?;
    }
    say!(
        "its lease ends before each of its requests, and from then on the second adds before each one"
    )?;
    for nth in 1..=paused {
        retry_if_slow(async |_| writers.add_paused(nth, true).await)
            .await?
            .map_or(Ok(()), check_lost)?;
    }
    say!("the network loses a write, or the response to it")?;
    writers.add_with_loss("the write was lost", Fault::RequestLost, false).await?;
    writers.add_with_loss("the response was lost", Fault::ResponseLost, false).await?;
    say!("the same, and then its lease ends, and the second adds")?;
    writers.add_with_loss("the write was lost", Fault::RequestLost, true).await?;
    writers.add_with_loss("the response was lost", Fault::ResponseLost, true).await?;
    say!("a write arrives after a request that was sent later")?;
    writers.add_with_loss("the write was late", Fault::Late, false).await?;
    held(format!("nothing was lost; of {paused} paused writers, etcd refused {refused}"))
}

/// Compares what a writer says with what it has done.
fn judge(who: &str, says: bool, has: bool) -> Result<()> {
    match (says, has) {
        (true, false) => broken(
            format!("{who} says that it has added, and it has not"),
            "what etcd's response says, besides that it has come",
        ),
        (false, true) => broken(
            format!("{who} says that it has not added, and it has"),
            "what your code goes by when it says whether it has added",
        ),
        _ => Ok(()),
    }
}

fn check_lost((writes, grown): (i64, i64)) -> Result<()> {
    match writes - grown {
        ..=0 => Ok(()),
        lost => broken(
            format!("{writes} additions were written, the number grew by {grown} ({lost} lost)"),
            "what has happened to the number since your code has read it, and who could have \
             refused the write",
        ),
    }
}

/// The first writer, at its end. What it still sends in the background is paused.
struct First {
    says: Result<bool>,
    requests: usize,
    /// The number of the request that wrote, counted from 1; 0: there was none.
    write: usize,
    /// How often the number was written, and by how much it has grown.
    writes: i64,
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
    /// As in [`First`], of a writer that was not paused.
    write: usize,
}

impl Writers {
    /// Frees the lock, and opens the first writer's session. Then its requests are paused.
    async fn open(&mut self) -> Result<(BoxFuture<'static, bool>, Session, Network)> {
        for lease in self.queue().await? {
            self.etcd.revoke(lease).await?; // of a round that is played again
        }
        let (mut client, mut network) = connect_intercepted(self.address).await?;
        network.open();
        let session = Session::open(&client, TTL).await?;
        network.pause();
        let (add, own) = (self.add, session.clone());
        Ok((Box::pin(async move { add(&mut client, &own, LOCK, KEY).await }), session, network))
    }

    /// Lets the first writer add. Before the `nth` of its requests, counted from 1, it loses the
    /// lock, if it has it, and the second one adds. With `again`, its lease ends in any case, and
    /// the second also adds before each later request.
    async fn add_first(&mut self, nth: usize, again: bool) -> Result<First> {
        let before = self.read().await?;
        let (adding, session, mut network) = self.open().await?;
        let mut adding = spawn_local(adding);
        let (mut requests, mut write, mut steps) = (0, 0, Steps::default());
        let says = loop {
            let request = tokio::select! {
                request = network.request() => request.context("the writer has no client")?,
                says = &mut adding => break says?,
            };
            requests += 1;
            if requests == nth {
                // How long the pause is changes nothing in what the writer sends next. So the
                // experiment need not wait for the TTL, and revokes the lease.
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
            // The writer may have given up the request.
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
                () if queue > 0 => steps.add("first", "txn"), // that has changed nothing
                () => {}
            }
        };
        let now = self.read().await?;
        let (grown, writes) = (now.0 - before.0, now.1 - before.1);
        Ok(First { says, requests, write, writes, grown, steps, session, network })
    }

    /// Lets the first writer add, and nothing happens.
    async fn add_alone(&mut self, who: &str) -> Result<()> {
        let mut first = self.add_first(0, false).await?;
        let says = first.says.or_else(returned_error)?;
        judge(who, says, first.write > 0)?;
        if !says {
            return refuses(who);
        }
        if first.grown != 1 {
            return broken("a writer that was not paused has not added 1", "what your code writes");
        }
        if self.etcd.get(KEY).await?.is_some_and(|kv| kv.lease() != 0) {
            return broken(
                "the number is on a lease: when that ends, the number is gone",
                "what belongs to the session, and what is to stay",
            );
        }
        // A guard that is dropped unlocks a moment later.
        first.network.open();
        if !becomes(REQUEST_TIMEOUT, async || Ok(self.queue().await?.is_empty())).await? {
            return broken(
                "a writer that was not paused has not unlocked",
                "what the next writer waits for",
            );
        }
        drop(first.session); // until here, so that its end does not unlock
        self.write = first.write;
        Ok(())
    }

    /// Lets the second writer add to a value that isn't a number.
    async fn add_to_nonsense(&mut self) -> Result<()> {
        self.etcd.put(KEY, NONSENSE).await?;
        let said = self.second_says().await?;
        let found = self.etcd.get(KEY).await?;
        if said.is_ok() || found.is_none_or(|kv| kv.value() != NONSENSE.as_bytes()) {
            return broken(
                format!("the number was {NONSENSE:?}, and add has added 1 to that"),
                "what your code does with an error",
            );
        }
        Ok(())
    }

    /// Begins again with [`add_first`](Writers::add_first). Returns how often the number was
    /// written, and by how much it has grown; `None` if the first sends fewer requests.
    async fn add_paused(&mut self, nth: usize, again: bool) -> Result<Option<(i64, i64)>> {
        self.etcd.put(KEY, NUMBER).await?;
        let first = self.add_first(nth, again).await?;
        let is_lost = first.writes > first.grown;
        // Otherwise nothing is shown, not even of a round that is played again.
        self.scene.show(if is_lost { first.steps } else { Steps::default() });
        if first.requests < nth {
            first.says.or_else(returned_error)?;
            return Ok(None);
        }
        if let (Ok(says), false) = (first.says, is_lost) {
            judge("the first writer", says, first.write > 0)?;
        }
        Ok(Some((first.writes, first.grown)))
    }

    /// Lets the second writer add. Returns the number.
    async fn add_second(&mut self) -> Result<i64> {
        let since = Instant::now();
        if !self.second_says().await?.or_else(returned_error)? {
            return refuses("the second writer, which had the lock,");
        }
        let long = since.elapsed();
        ensure!(long < REQUEST_TIMEOUT / 2, "the second writer takes too long: {long:.1?}");
        Ok(self.read().await?.0)
    }

    async fn second_says(&mut self) -> Result<Result<bool>> {
        let session = Session::open(&self.etcd.0, TTL).await?;
        Ok((self.add)(&mut self.etcd.0.clone(), &session, LOCK, KEY).await)
    }

    /// Lets the first writer add, with a fault at the request that writes. With `overtaken`, it
    /// also loses its lease then, and the second one adds.
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
            network.play_for(PATIENCE + REQUEST_TIMEOUT, fault, write, adding, others).await?;
        let Some(says) = &run.said else {
            let look = "which of your requests has no limit, or why your code tries again";
            return still_waits(PATIENCE, look);
        };
        match (says, self.read().await?.0 - before - i64::from(overtaken)) {
            (_, added @ 2..) => broken(
                format!("{what}, and it has added {added}"),
                "what your code does again, and whether the first time really did nothing",
            ),
            (Ok(true), 0) => broken(
                format!("{what}: it says that it has added, and it has not"),
                "what your code does with an error, and who else can have written the number",
            ),
            (Ok(false), 1) => broken(
                format!("{what}: it says that it has not added, and it has"),
                "what your code knows when no response has come",
            ),
            _ => Ok(()), // an answer that cannot know it gives up
        }
    }

    /// Returns the number, and how often it was written.
    async fn read(&mut self) -> Result<(i64, i64)> {
        let kv = self.etcd.get(KEY).await?.context("the number is gone")?;
        Ok((kv.value_str()?.parse()?, kv.version()))
    }

    /// Returns the leases of those who have the lock, or wait for it.
    async fn queue(&mut self) -> Result<Vec<i64>> {
        let queue = self.etcd.get_all(&format!("{LOCK}/")).await?;
        Ok(queue.iter().map(|kv| kv.lease()).collect())
    }
}

fn refuses<T>(who: &str) -> Result<T> {
    broken(
        format!("{who} says that it has not added"),
        "the condition under which your code writes",
    )
}
