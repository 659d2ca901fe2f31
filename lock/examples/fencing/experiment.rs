//! The experiment of the exercise `fencing`: two writers under a lock, one of them paused.
//!
//! Repair `yours.rs`, not this file.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};
use etcd_server::Server;
use exercise::{
    BoxFuture, PausedRequest, Scene, Steps, Verdict, Wire, blocking, broken, connect_by_wire_to,
    connect_to, counted_round, gave_up, held, round,
};
use lock::Session;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// The function that is tried.
pub type Add = for<'a> fn(&'a mut Client, &'a Session, &'a str, &'a str) -> BoxFuture<'a, bool>;

const LOCK: &str = "lock";
const KEY: &str = "number";
/// The number before anybody adds to it. As text, 10 comes before 9.
const NUMBER: i64 = 9;
/// No number.
const NONSENSE: &str = "many";

const ALONE: &str = "a writer that was not paused";
const TWO_DIGITS: &str = "a writer that was not paused, with a token of two digits,";

/// The first renewal is due after a third: until then a client sends what `add` sends.
const TTL: Duration = Duration::from_secs(10);

pub async fn run(scene: Scene, add: Add) -> Result<Verdict> {
    // Of its own: it begins at revision 1.
    let server = blocking(Server::start).await?;
    let client = connect_to(server.address()).await?;
    let (paused, wire) = connect_by_wire_to(server.address()).await?;
    let mut writers = Writers { client, paused, wire, add };
    writers.put_number().await?;
    // If that works, it is not worth a line.
    round(async |_| writers.add_alone(ALONE).await).await?;
    // Fencing tokens are revisions. The next one is larger, and as text it is smaller: 10 comes before 9.
    while writers.put_number().await? < 9 {}
    let write = counted_round(async |_| writers.add_alone(TWO_DIGITS).await).await?;

    writers.add_to_nonsense().await?;

    writeln!(stdout(), "two writers add 1 to a number, each under the same lock")?;
    writeln!(
        stdout(),
        "the first is paused, and if it has the lock, its lease ends; then the second adds"
    )?;
    let (mut nth, mut refused) = (1, 0);
    while let Some(Paused { writes, grown, steps }) =
        counted_round(async |_| writers.add_paused(nth, false).await).await?
    {
        writeln!(
            stdout(),
            "paused before its request {nth}: {writes} written, the number grows by {grown}"
        )?;
        refused += usize::from(writes < 2);
        lost(&scene, Paused { writes, grown, steps })?;
        nth += 1;
    }
    let requests = nth - 1;
    writeln!(
        stdout(),
        "its lease ends before each of its requests, and from then on the second adds before each one"
    )?;
    for nth in 1..=requests {
        let paused = round(async |_| writers.add_paused(nth, true).await).await?;
        if let Some(paused) = paused {
            lost(&scene, paused)?;
        }
    }
    writeln!(stdout(), "the network loses a write, or the response to it")?;
    writers.add_with_loss(write, Loss::Request, false).await?;
    writers.add_with_loss(write, Loss::Response, false).await?;
    writeln!(stdout(), "the same, and then its lease ends, and the second adds")?;
    writers.add_with_loss(write, Loss::Request, true).await?;
    writers.add_with_loss(write, Loss::Response, true).await?;
    writeln!(stdout(), "a write arrives after a request that was sent later")?;
    writers.add_with_loss(write, Loss::Late, false).await?;
    held(format!("nothing was lost; of {requests} paused writers, etcd refused {refused}"))
}

fn lost(scene: &Scene, Paused { writes, grown, steps }: Paused) -> Result<()> {
    if writes > grown {
        scene.show(steps);
        return broken(
            format!(
                "{writes} additions were written, the number grew by {grown} ({} lost)",
                writes - grown
            ),
            "what has happened to the number since your code has read it, and who could have \
             refused the write",
        );
    }
    Ok(())
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

/// What the network loses, or keeps for long.
#[derive(Clone, Copy)]
enum Loss {
    Request,
    Response,
    /// The request arrives after the writer's next one.
    Late,
}

impl Loss {
    fn what(self) -> &'static str {
        match self {
            Loss::Request => "the write was lost",
            Loss::Response => "the response was lost",
            Loss::Late => "the write was late",
        }
    }
}

/// What has happened while the first writer was paused.
struct Paused {
    /// How often the number was written, and by how much it has grown.
    writes: i64,
    grown: i64,
    steps: Steps,
}

struct Writers {
    /// The second writer's.
    client: Client,
    /// The first writer's.
    paused: Client,
    wire: Wire,
    add: Add,
}

impl Writers {
    fn start(&self, client: &Client, session: Session) -> JoinHandle<Result<bool>> {
        let (add, mut client) = (self.add, client.clone());
        spawn_local(async move { add(&mut client, &session, LOCK, KEY).await })
    }

    /// Starts the first writer, with a free lock. Its requests are paused.
    async fn start_first(&mut self) -> Result<(JoinHandle<Result<bool>>, Session)> {
        let left = self.queue().await?; // by a round that is played again
        self.revoke(left).await?;
        self.wire.open();
        let session = Session::open(&self.paused, TTL).await?;
        self.wire.pause();
        Ok((self.start(&self.paused, session.clone()), session))
    }

    /// Lets the first writer add, and nothing happens. Returns the number of the request that wrote, counted
    /// from 1.
    async fn add_alone(&mut self, who: &str) -> Result<usize> {
        let before = self.read().await?;
        let (mut first, session) = self.start_first().await?;
        let (mut requests, mut write) = (0, 0);
        let says = loop {
            tokio::select! {
                response = self.wire.response(1) => {
                    requests += 1;
                    if write == 0 && self.read().await?.writes > before.writes {
                        write = requests;
                    }
                    drop(response);
                }
                says = &mut first => break says?.or_else(gave_up)?,
            }
        };
        let now = self.read().await?;
        judge(who, says, write > 0)?;
        if !says {
            return refuses(who);
        }
        if now.number - before.number != 1 {
            return broken("a writer that was not paused has not added 1", "what your code writes");
        }
        if now.lease != 0 {
            return broken(
                "the number is on a lease: when that ends, the number is gone",
                "what belongs to the session, and what is to stay",
            );
        }
        // A guard that is dropped unlocks a moment later.
        self.wire.open();
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        while !self.queue().await?.is_empty() {
            if Instant::now() < deadline {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            return broken(
                "a writer that was not paused has not unlocked",
                "what the next writer waits for",
            );
        }
        drop(session); // until here, so that its end does not unlock
        Ok(write)
    }

    /// Lets the second writer add to what is no number.
    async fn add_to_nonsense(&mut self) -> Result<()> {
        self.put(NONSENSE).await?;
        let session = Session::open(&self.client, TTL).await?;
        let said = self.start(&self.client, session).await?;
        let found = within(REQUEST_TIMEOUT, self.client.get(KEY, None)).await?;
        let is_left = found.kvs().first().is_some_and(|kv| kv.value() == NONSENSE.as_bytes());
        if said.is_ok() || !is_left {
            return broken(
                format!("the number was {NONSENSE:?}, and add has added 1 to that"),
                "what your code does with an error",
            );
        }
        Ok(())
    }

    /// Pauses the first writer before the `nth` of its requests, counted from 1, and then lets the
    /// second one add. With `again`, its lease ends in any case, and the second also adds before each
    /// later request. Returns `None` if the first sends fewer requests.
    async fn add_paused(&mut self, nth: usize, again: bool) -> Result<Option<Paused>> {
        self.put_number().await?;
        let before = self.read().await?;
        let (mut first, session) = self.start_first().await?;
        let (mut steps, mut requests, mut adds) = (Steps::default(), 0, 0);
        let says = loop {
            let call = tokio::select! {
                call = self.wire.request() => call.context("the writer has no client")?,
                says = &mut first => break says?,
            };
            requests += 1;
            if requests == nth {
                // The pause changes nothing in what the writer sends next. So the experiment need not
                // wait for the TTL and revokes the lease, as etcd does with a lease that has run out.
                let leases = if again { vec![session.lease()] } else { self.queue().await? };
                if !leases.is_empty() {
                    self.revoke(leases).await?;
                    steps.add("etcd", "ends its lease");
                }
            }
            if requests == nth || again && requests > nth {
                let number = self.add_second().await?;
                steps.add("second", format!("adds 1: {number}"));
                adds += 1;
            }
            if let Some(what) = self.pass(call).await? {
                steps.add("first", what);
            }
        };
        if requests < nth {
            says.or_else(gave_up)?;
            return Ok(None);
        }
        let now = self.read().await?;
        let (writes, grown) = (now.writes - before.writes, now.number - before.number);
        if let (Ok(says), true) = (says, writes <= grown) {
            judge("the first writer", says, writes > adds)?;
        }
        Ok(Some(Paused { writes, grown, steps }))
    }

    /// Lets the second writer add. Returns the number.
    async fn add_second(&mut self) -> Result<i64> {
        let since = Instant::now();
        let session = Session::open(&self.client, TTL).await?;
        let says = self.start(&self.client, session).await?.or_else(gave_up)?;
        if !says {
            return refuses("the second writer, which had the lock,");
        }
        let long = since.elapsed();
        ensure!(long < REQUEST_TIMEOUT / 2, "the second writer takes too long: {long:.1?}");
        Ok(self.read().await?.number)
    }

    /// Lets a request of the first writer pass. Returns what it has done.
    async fn pass(&mut self, call: PausedRequest) -> Result<Option<String>> {
        let is_get = self.wire.sent().last_is("Range");
        let (before, queue) = (self.read().await?, self.queue().await?);
        let Some(_response) = call.response().await else {
            return Ok(None); // given up
        };
        let (now, longer) = (self.read().await?, self.queue().await?.len());
        Ok(match () {
            () if now.writes > before.writes => Some(format!("put {}", now.number)),
            () if longer > queue.len() => Some("lock".to_owned()),
            () if longer < queue.len() => Some("unlock".to_owned()),
            () if is_get => Some(format!("get {}", now.number)),
            () if !queue.is_empty() => Some("txn".to_owned()), // that has changed nothing
            () => None,
        })
    }

    /// The request of this number, counted from 1, or the response to it, never arrives. Then the first
    /// writer may also lose its lease, and the second one adds.
    async fn add_with_loss(&mut self, write: usize, loss: Loss, overtaken: bool) -> Result<()> {
        self.put_number().await?;
        let (first, session) = self.start_first().await?;
        for _ in 1..write {
            self.wire.response(1).await;
        }
        let request = self.wire.request().await.context("the writer has no client")?;
        let lost = match loss {
            Loss::Request => (Some(request), None),
            Loss::Response => (None, request.response().await),
            Loss::Late => {
                let next = timeout(2 * REQUEST_TIMEOUT, self.wire.response(1)).await;
                request.arrive_late().await?;
                drop(next);
                (None, None)
            }
        };
        if overtaken {
            self.revoke(vec![session.lease()]).await?;
            self.add_second().await?;
        }
        self.wire.open();
        let limit = 3 * REQUEST_TIMEOUT;
        let Ok(says) = timeout(limit, first).await else {
            return broken(
                format!("what the network has lost is still waited for after {limit:?}"),
                "which of your requests has no limit, or why your code tries again",
            );
        };
        let added = self.read().await?.number - NUMBER - i64::from(overtaken);
        drop(lost); // only now: a lost write may not arrive before
        let lost = loss.what();
        match (says?, added) {
            (_, 2..) => broken(
                format!("{lost}, and it has added {added}"),
                "what your code does again, and whether the first time really did nothing",
            ),
            (Ok(true), 0) => broken(
                format!("{lost}: it says that it has added, and it has not"),
                "what your code does with an error, and who else can have written the number",
            ),
            (Ok(false), 1) => broken(
                format!("{lost}: it says that it has not added, and it has"),
                "what your code knows when no response has come",
            ),
            _ => Ok(()), // who cannot know it gives up
        }
    }

    async fn revoke(&mut self, leases: Vec<i64>) -> Result<()> {
        for lease in leases {
            let revoke = self.client.lease_revoke(lease);
            within(REQUEST_TIMEOUT, revoke).await.context("revoke failed")?;
        }
        Ok(())
    }

    /// Begins again. Returns the revision.
    async fn put_number(&mut self) -> Result<i64> {
        self.put(&NUMBER.to_string()).await
    }

    async fn put(&mut self, value: &str) -> Result<i64> {
        let put = self.client.put(KEY, value, None);
        let response = within(REQUEST_TIMEOUT, put).await.context("put failed")?;
        Ok(response.header().context("no header")?.revision())
    }

    async fn read(&mut self) -> Result<Number> {
        read(&mut self.client).await
    }

    /// Returns the leases of those who have the lock, or wait for it.
    async fn queue(&mut self) -> Result<Vec<i64>> {
        let keys = GetOptions::new().with_prefix();
        let queue = self.client.get(format!("{LOCK}/"), Some(keys));
        let queue = within(REQUEST_TIMEOUT, queue).await.context("get failed")?;
        Ok(queue.kvs().iter().map(|kv| kv.lease()).collect())
    }
}

fn refuses<T>(who: &str) -> Result<T> {
    broken(
        format!("{who} says that it has not added"),
        "the condition under which your code writes",
    )
}

/// The number, how often it was written, and its lease.
struct Number {
    number: i64,
    writes: i64,
    lease: i64,
}

async fn read(client: &mut Client) -> Result<Number> {
    let found = within(REQUEST_TIMEOUT, client.get(KEY, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("the number is gone")?;
    Ok(Number { number: kv.value_str()?.parse()?, writes: kv.version(), lease: kv.lease() })
}
