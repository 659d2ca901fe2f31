//! The experiment of the exercise `counter`: eight clients count in one key.
//!
//! Repair `yours.rs`, not this file.

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

/// The function that is tried.
pub type Add = for<'a> fn(&'a mut Client, &'a str) -> BoxFuture<'a, ()>;

const CLIENTS: usize = 8;
const ROUNDS: usize = 50;
/// What another program adds.
const MORE: i64 = 10;
/// The request that another program no longer overtakes. Giving up sooner loses an addition.
const OFTEN: usize = 30;
/// A counter value that isn't a number.
const NONSENSE: &str = "many";
/// It changes after each of etcd's responses. So the newest revision is not the counter's.
const ANOTHER: &str = "another key";
/// How many requests an answer may take to add 1 while nobody else writes the counter.
const ENOUGH: usize = 20;

pub async fn run(scene: Scene, add: Add) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let (scene, etcd) = (&scene, server.address());
    let between_others = async |overtaken| {
        retry_if_slow(async |attempt| add_between_others(etcd, add, &overtaken, attempt).await)
            .await
    };
    // Other keys change, the counter does not, or once. If that works, it is not worth a line.
    let alone = retry_if_slow_or_counted(async |attempt| {
        add_between_others(etcd, add, &(0..0), attempt).await
    })
    .await?;
    let requests = alone.responses;
    ensure!(requests > 0, "add has asked etcd for nothing, so nothing was tried");
    alone.judge()?;
    let overtaken = between_others(1..2).await?;
    add_to_nonsense(etcd, add).await?;

    say!("{CLIENTS} clients add 1 to the counter, all at the same time, {ROUNDS} times")?;
    say!("each time, all of them have read it before any of them writes")?;
    let staged =
        retry_if_slow(async |attempt| add_together(scene, etcd, add, attempt).await).await?;
    if staged {
        say!("the counter says {}", CLIENTS * ROUNDS)?;
    }

    say!("another program adds {MORE} between the requests of one client")?;
    overtaken.judge()?;
    for nth in 2..=requests {
        between_others(nth..nth + 1).await?.judge()?;
    }
    between_others(1..OFTEN).await?.judge()?;
    ensure!(
        staged,
        "the {CLIENTS} clients have not read the counter at the same time; is the machine busy?"
    );

    say!("the network loses the last request of a client, or the response to it")?;
    let lose =
        async |what, fault, nth, beside| add_with_loss(etcd, add, what, fault, nth, beside).await;
    for beside in [false, true] {
        tokio::try_join!(
            lose("request was lost", Fault::RequestLost, requests, beside),
            lose("response was lost", Fault::ResponseLost, requests, beside)
        )?;
        lose("connection was lost", Fault::ConnectionLost, requests, beside).await?;
    }
    if requests > 1 {
        lose("first request was lost", Fault::RequestLost, 1, false).await?;
    }
    say!("the last request of a client arrives after one that was sent later")?;
    lose("request was late", Fault::Late, requests, false).await?;
    held("nothing was lost, and nothing was added twice")
}

/// All clients add, again and again. Returns whether they did it at the same time.
async fn add_together(scene: &Scene, etcd: SocketAddr, add: Add, attempt: usize) -> Result<bool> {
    let mut counter = Counter::create(etcd, &format!("together/{attempt}")).await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect_intercepted(etcd).await?);
    }
    let (mut added, mut unstaged) = (0, 0);
    // Once may be a busy machine. Three times in a row, the clients wait for each other.
    for _ in 0..ROUNDS {
        let mut adds = Vec::new();
        for (client, network) in &mut clients {
            network.pause();
            let (mut client, key) = (client.clone(), counter.key.clone());
            adds.push(spawn_local(async move { add(&mut client, &key).await }));
        }

        // The first response to each client is paused until etcd has responded to all of them.
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
            scene.show(counter.one_loss().await?);
            broken(
                format!("{what} ({lost} updates lost)"),
                "what others can do between your get and your put, and how you would notice it",
            )
        }
        _ => broken(format!("{what} ({} too many)", number - added), "what your code does again"),
    }
}

/// One client adds. After each of etcd's responses another key changes, and after those with these
/// numbers, counted from 1, another program adds.
async fn add_between_others(
    etcd: SocketAddr,
    add: Add,
    overtaken: &Range<usize>,
    attempt: usize,
) -> Result<Between> {
    let mut counter = Counter::create(etcd, &format!("{overtaken:?}/{attempt}")).await?;
    let key = counter.key.clone();
    counter.etcd.put(ANOTHER, "0").await?;
    let (mut client, mut network) = connect_intercepted(etcd).await?;
    // The client is dropped with the task. Then the network returns `None`.
    let returned = &Cell::new(false);
    let adding = async move {
        add(&mut client, &key).await.or_else(returned_error)?;
        returned.set(true);
        Ok(())
    };
    let mut more = 0;
    let between = async |response| {
        if returned.get() {
            return broken(
                "add has returned, and etcd responds to it later",
                "what your code waits for before it says that it has added",
            );
        }
        if overtaken.contains(&response) {
            counter.add(MORE).await?;
            more += MORE;
        }
        counter.etcd.put(ANOTHER, "0").await?;
        if response == overtaken.end + ENOUGH {
            return broken(
                format!(
                    "{ENOUGH} requests have not added 1, and nobody else has written the counter, only \
                     other keys"
                ),
                "which of etcd's numbers your code compares, and how, and whose changes it counts",
            );
        }
        Ok(())
    };
    let ((), responses) = network.overtake_each(adding, between).await?;
    Ok(Between { responses, more, number: counter.read().await?.0 })
}

/// One client adds to a value that isn't a number.
async fn add_to_nonsense(etcd: SocketAddr, add: Add) -> Result<()> {
    let (mut client, key) = (connect_to(etcd).await?, "counter/nonsense");
    let mut etcd = Etcd(client.clone());
    etcd.put(key, NONSENSE).await?;
    let said = add(&mut client, key).await;
    if said.is_ok() || etcd.get(key).await?.is_none_or(|kv| kv.value() != NONSENSE.as_bytes()) {
        return broken(
            format!("the counter said {NONSENSE:?}, and add has added 1 to that"),
            "what your code does with an error",
        );
    }
    Ok(())
}

/// The outcome of [`add_between_others`].
struct Between {
    /// How many responses it got.
    responses: usize,
    /// What another program has added.
    more: i64,
    number: i64,
}

impl Between {
    fn judge(&self) -> Result<()> {
        let &Between { more, number, .. } = self;
        let what = match more {
            0 => format!("one client added 1, and the counter says {number}"),
            _ => format!("another program added {more} and you added 1, the counter says {number}"),
        };
        match number - more {
            1 => Ok(()),
            0 if more > MORE => {
                broken(what, "how often your code tries, and what it says after that")
            }
            0 => broken(what, "how your code knows that its own put has taken place"),
            ..0 => broken(what, "what other programs can do between your requests"),
            _ => broken(what, "what your code writes, and what it does again"),
        }
    }
}

/// One client adds, with a fault at this request. Then another program may add 1, too.
async fn add_with_loss(
    etcd: SocketAddr,
    add: Add,
    what: &str,
    fault: Fault,
    nth: usize,
    beside: bool,
) -> Result<()> {
    let mut counter = Counter::create(etcd, &format!("{what}/{beside}")).await?;
    let (mut client, mut network) = connect_intercepted(etcd).await?;
    let key = counter.key.clone();
    let adding = async move { add(&mut client, &key).await };
    let others = async || if beside { counter.add(1).await } else { Ok(()) };
    let played = network.play(fault, nth, adding, others).await?;

    let added = counter.read().await?.0 - i64::from(beside && played.is_staged);
    let what = format!("the {what}{}", if beside { ", and another program added 1" } else { "" });
    match (played.said, added) {
        (Ok(()), 0) => broken(
            format!("{what}: add says that it has added 1, and it has not"),
            match beside {
                true => "who else can have changed the counter when your code looks at it again",
                false => "what your code does with an error",
            },
        ),
        // An answer that cannot know it gives up, and says neither.
        (_, ..=1) => Ok(()),
        _ => broken(
            format!("{what}: you added 1, and the counter says {}", added + i64::from(beside)),
            "what your code does again, and whether the first time really did nothing",
        ),
    }
}

/// The counter, as other programs use it.
struct Counter {
    etcd: Etcd,
    key: String,
}

impl Counter {
    /// Begins to count at 0.
    async fn create(server: SocketAddr, name: &str) -> Result<Counter> {
        let (mut client, key) = (connect_to(server).await?, &*format!("counter/{name}"));
        // A key that does not exist has revision 0: nobody's counter is overwritten.
        let create = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, "0", None)]);
        let response = within(REQUEST_TIMEOUT, client.txn(create)).await.context("txn failed")?;
        ensure!(response.succeeded(), "there is a counter already");
        Ok(Counter { etcd: Etcd(client), key: key.to_owned() })
    }

    /// Returns the number, and how often it was put since it was 0.
    async fn read(&mut self) -> Result<(i64, i64)> {
        let look = "what your code writes, and where";
        let Some(kv) = self.etcd.get(&self.key).await? else {
            return broken("the counter is gone", look);
        };
        match kv.value_str()?.parse() {
            Ok(number) => Ok((number, kv.version() - 1)),
            Err(_) => broken(format!("the counter says {:?}", kv.value_str()?), look),
        }
    }

    async fn add(&mut self, more: i64) -> Result<()> {
        let number = self.read().await?.0 + more;
        self.etcd.put(&self.key, &number.to_string()).await?;
        Ok(())
    }

    /// Returns how two of the clients came to put the same number: etcd has kept each of them.
    async fn one_loss(&mut self) -> Result<Steps> {
        let history = self.etcd.history(&self.key, 1).await?;
        let twice = history.windows(2).find(|pair| pair[0].value == pair[1].value);
        let mut steps = Steps::default();
        // All clients have read it before any of them has written.
        if let Some(number) = twice.and_then(|pair| pair[1].value.as_deref()?.parse::<i64>().ok()) {
            for what in [format!("get {}", number - 1), format!("put {number}")] {
                steps.add("one client", &*what);
                steps.add("another one", what);
            }
        }
        Ok(steps)
    }
}
