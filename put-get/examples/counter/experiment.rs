//! The experiment of the exercise `counter`: eight clients share one counter.
//!
//! There is nothing to fix in this file; edit `yours.rs`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use etcd_server::Server;
use exercise::{
    BoxFuture, Etcd, Fault, Scene, Steps, Verdict, blocking, broken, connect_intercepted,
    connect_to, held, retry_if_slow, retry_if_slow_or_counted, returned_error, say,
};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

/// The function that the experiment tries.
pub type Add = for<'a> fn(&'a mut Client, &'a str) -> BoxFuture<'a, ()>;

const CLIENTS: usize = 8;
const ROUNDS: usize = 50;
/// How much another program adds each time.
const OTHER_ADDS: i64 = 10;
/// The other program no longer adds after this response. An answer that gives up sooner loses its
/// addition.
const INTERFERING_RESPONSES: usize = 30;
/// How many requests an answer may take to add 1 while nobody else adds.
const MAX_REQUESTS: usize = 20;
/// A counter value that isn't a number.
const NOT_A_NUMBER: &str = "many";
/// A key that changes after each of etcd's responses, so that the store's newest revision is never
/// the counter's.
const OTHER_KEY: &str = "another key";

pub async fn run(scene: Scene, add: Add) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let trial = Trial { scene, etcd: server.address(), add };

    // These come before the first line, because an answer that never succeeds here would not get
    // to the end of the stages below. What became of the second addition is judged there.
    let alone = async |attempt| trial.try_between(&(0..0), attempt).await;
    let alone = retry_if_slow_or_counted(alone).await?;
    ensure!(alone.responses > 0, "add sent no request to etcd, so there is nothing to judge");
    alone.judge()?;
    let overtaken_once = trial.add_between_others(1..2).await?;
    trial.add_to_text().await?;

    say!("{CLIENTS} clients add 1 to the counter, all at the same time, {ROUNDS} times")?;
    say!("in each round, every client reads before any client writes")?;
    let is_staged = retry_if_slow(async |attempt| trial.add_together(attempt).await).await?;
    if is_staged {
        say!("the counter says {}", CLIENTS * ROUNDS)?;
    }

    say!("another program adds {OTHER_ADDS} between the requests of one client")?;
    overtaken_once.judge()?;
    let last = alone.responses;
    for nth in 2..=last {
        trial.add_between_others(nth..nth + 1).await?.judge()?;
    }
    trial.add_between_others(1..INTERFERING_RESPONSES).await?.judge()?;
    // Only now: an answer whose clients wait for each other has got its verdict above.
    ensure!(
        is_staged,
        "cannot judge add: the {CLIENTS} clients did not read the counter at the same time; \
         try again on a machine that is less busy"
    );

    say!("the network loses a client's last request, or the response to it")?;
    for other_adds in [false, true] {
        tokio::try_join!(
            trial.add_with("request was lost", Fault::RequestLost, last, other_adds),
            trial.add_with("response was lost", Fault::ResponseLost, last, other_adds)
        )?;
        trial.add_with("connection was lost", Fault::ConnectionLost, last, other_adds).await?;
    }
    if last > 1 {
        trial.add_with("first request was lost", Fault::RequestLost, 1, false).await?;
    }
    say!("the network delays a client's last request, and a later one arrives first")?;
    trial.add_with("request was late", Fault::Late, last, false).await?;
    held("nothing was lost, and nothing was added twice")
}

struct Trial {
    scene: Scene,
    etcd: SocketAddr,
    add: Add,
}

impl Trial {
    /// One client adds, and another program adds after those of etcd's responses that have these
    /// numbers, counted from 1.
    async fn add_between_others(&self, overtaken: Range<usize>) -> Result<Between> {
        retry_if_slow(async |attempt| self.try_between(&overtaken, attempt).await).await
    }

    async fn try_between(&self, overtaken: &Range<usize>, attempt: usize) -> Result<Between> {
        let mut counter = Counter::create(self.etcd, &format!("{overtaken:?}/{attempt}")).await?;
        let (key, add) = (counter.key.clone(), self.add);
        counter.etcd.put(OTHER_KEY, "0").await?;
        let (mut client, mut network) = connect_intercepted(self.etcd).await?;
        // This block owns the client. Its end drops the client, which ends the loop over the
        // client's responses.
        let has_returned = &Cell::new(false);
        let adding = async move {
            add(&mut client, &key).await.or_else(returned_error)?;
            has_returned.set(true);
            Ok(())
        };
        let (mut others, mut quiet_since) = (0, 0);
        let between = async |response| {
            if has_returned.get() {
                return broken(
                    "add returned before etcd had responded to its last request",
                    "what your code waits for before it returns",
                );
            }
            if overtaken.contains(&response) {
                counter.add(OTHER_ADDS).await?;
                others += OTHER_ADDS;
                quiet_since = response;
            }
            counter.etcd.put(OTHER_KEY, "0").await?;
            if response > quiet_since + MAX_REQUESTS {
                return broken(
                    format!(
                        "add took more than {MAX_REQUESTS} requests, although nobody else added"
                    ),
                    "which of etcd's numbers your code compares, and whose changes it counts",
                );
            }
            Ok(())
        };
        let ((), responses) = network.overtake_each(adding, between).await?;
        Ok(Between { responses, others, number: counter.read().await?.0 })
    }

    /// One client adds to a value that isn't a number.
    async fn add_to_text(&self) -> Result<()> {
        let (mut client, key) = (connect_to(self.etcd).await?, "counter/text");
        let mut etcd = Etcd(client.clone());
        etcd.put(key, NOT_A_NUMBER).await?;
        let result = (self.add)(&mut client, key).await;
        let now = etcd.get(key).await?;
        if result.is_ok() || now.is_none_or(|kv| kv.value() != NOT_A_NUMBER.as_bytes()) {
            return broken(
                format!("the counter said {NOT_A_NUMBER:?}: add must return an error and leave it"),
                "what your code does with an error",
            );
        }
        Ok(())
    }

    /// All clients add, again and again. Returns `false` if it was impossible to let all of them
    /// read before one of them writes.
    async fn add_together(&self, attempt: usize) -> Result<bool> {
        let mut counter = Counter::create(self.etcd, &format!("together/{attempt}")).await?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(connect_intercepted(self.etcd).await?);
        }
        // One round that fails may be the fault of a busy machine. After three in a row, we assume
        // that the clients wait for each other, for instance for a mutex.
        let (mut added, mut unstaged) = (0, 0);
        for _ in 0..ROUNDS {
            let mut adds = Vec::new();
            for (client, network) in &mut clients {
                network.pause();
                let (mut client, key, add) = (client.clone(), counter.key.clone(), self.add);
                adds.push(spawn_local(async move { add(&mut client, &key).await }));
            }

            // Pause the first response to each client until etcd has responded to all of them:
            // by then all have read the counter, and none has written it.
            let mut responses = Vec::new();
            let deadline = Instant::now() + REQUEST_TIMEOUT * 4 / 5;
            for (_, network) in &mut clients {
                responses.extend(timeout_at(deadline, network.response(1)).await.ok().flatten());
            }
            clients.iter_mut().for_each(|(_, network)| network.open());
            unstaged = if responses.len() < CLIENTS { unstaged + 1 } else { 0 };
            drop(responses);

            for add in adds {
                add.await?.or_else(returned_error)?;
                added += 1;
            }
            if unstaged == 3 {
                break;
            }
        }

        let (number, puts) = counter.read().await?;
        let what = format!("{CLIENTS} clients added {added}, the counter says {number}");
        match added - number {
            0 => Ok(unstaged < 3),
            1.. if puts < added => broken(
                format!("{what} ({} were never put)", added - puts),
                "how your code knows that its own put has taken place",
            ),
            lost @ 1.. => {
                self.scene.show(counter.one_loss().await?);
                broken(
                    format!("{what} ({lost} additions lost)"),
                    "what others can do between your get and your put, and how you would notice it",
                )
            }
            _ => {
                broken(format!("{what} ({} too many)", number - added), "what your code does again")
            }
        }
    }

    /// One client adds, with a fault at its `nth` request. After the fault, another program may
    /// add 1 as well.
    async fn add_with(&self, what: &str, fault: Fault, nth: usize, other_adds: bool) -> Result<()> {
        let mut counter = Counter::create(self.etcd, &format!("{what}/{other_adds}")).await?;
        let (mut client, mut network) = connect_intercepted(self.etcd).await?;
        let (key, add) = (counter.key.clone(), self.add);
        let adding = async move { add(&mut client, &key).await };
        let others = async || if other_adds { counter.add(1).await } else { Ok(()) };
        let played = network.play(fault, nth, adding, others).await?;

        let number = counter.read().await?.0;
        let added = number - i64::from(other_adds && played.is_staged);
        let too = if other_adds { ", and another program added 1" } else { "" };
        match (played.said, added) {
            (Ok(()), 0) => broken(
                format!("the {what}{too}: add returned Ok, but it had not added 1"),
                match other_adds {
                    true => "who else can have changed the counter when your code looks again",
                    false => "what your code does with an error",
                },
            ),
            // An error is fine: an answer that can't know whether it has added must say so.
            (_, ..=1) => Ok(()),
            _ => broken(
                format!("the {what}{too}: you added 1, the counter says {number}"),
                "what your code does again, and whether the first time really did nothing",
            ),
        }
    }
}

/// The outcome of [`Trial::add_between_others`].
struct Between {
    /// How many responses the client got.
    responses: usize,
    /// How much the other program has added.
    others: i64,
    /// What the counter says in the end.
    number: i64,
}

impl Between {
    /// Checks that both additions are in the counter.
    fn judge(&self) -> Result<()> {
        let &Between { others, number, .. } = self;
        let what = match others {
            0 => format!("you added 1, the counter says {number}"),
            _ => format!("another program added {others}, you added 1, the counter says {number}"),
        };
        match number - others {
            1 => Ok(()),
            0 if others > OTHER_ADDS => {
                broken(what, "how often your code tries, and what it returns after that")
            }
            0 => broken(what, "how your code knows that its own put has taken place"),
            ..0 => broken(what, "what other programs can do between your requests"),
            _ => broken(what, "what your code writes, and what it does again"),
        }
    }
}

/// The counter, as other programs use it.
struct Counter {
    etcd: Etcd,
    key: String,
}

impl Counter {
    /// Creates a counter that says 0.
    async fn create(server: SocketAddr, name: &str) -> Result<Counter> {
        let (mut client, key) = (connect_to(server).await?, &*format!("counter/{name}"));
        // A key that doesn't exist has revision 0, so this can't overwrite an existing counter.
        let create = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, "0", None)]);
        let response = within(REQUEST_TIMEOUT, client.txn(create)).await.context("txn failed")?;
        ensure!(response.succeeded(), "there is a counter already");
        Ok(Counter { etcd: Etcd(client), key: key.to_owned() })
    }

    /// Returns the number, and how often it was put after its creation.
    async fn read(&mut self) -> Result<(i64, i64)> {
        let hint = "what your code writes, and where";
        let Some(kv) = self.etcd.get(&self.key).await? else {
            return broken("the counter is gone", hint);
        };
        let text = kv.value_str()?;
        match text.parse() {
            Ok(number) => Ok((number, kv.version() - 1)),
            Err(_) => broken(format!("the counter says {text:?}, which isn't a number"), hint),
        }
    }

    async fn add(&mut self, more: i64) -> Result<()> {
        let number = self.read().await?.0 + more;
        self.etcd.put(&self.key, &number.to_string()).await?;
        Ok(())
    }

    /// Returns how two clients came to put the same number, from what etcd has kept of each put.
    async fn one_loss(&mut self) -> Result<Steps> {
        let history = self.etcd.history(&self.key, 1).await?;
        let twice = history.windows(2).find(|pair| pair[0].value == pair[1].value);
        let mut steps = Steps::default();
        // In each round all clients read before one of them wrote. So both had read the number
        // before this one.
        if let Some(number) = twice.and_then(|pair| pair[1].value.as_deref()?.parse::<i64>().ok()) {
            for what in [format!("get {}", number - 1), format!("put {number}")] {
                steps.add("client a", &*what);
                steps.add("client b", what);
            }
        }
        Ok(steps)
    }
}
