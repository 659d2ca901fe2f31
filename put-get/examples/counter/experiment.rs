//! The experiment of the exercise `counter`: eight clients count in one key.
//!
//! Repair `yours.rs`, not this file.

use std::cell::Cell;
use std::io::{Write, stdout};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, WatchOptions};
use exercise::{
    Exercise, Scene, Steps, Verdict, Wire, broken, counted_round, gave_up, held, round,
};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use crate::add;

// Every answer has this function. A call names the answer first: `add(answer, client, ..)`.
macro_rules! answers {
    ($($answer:ident),+ $(,)?) => {
        exercise::answers! {
            const ANSWERS = [$($answer),+];
            async fn add(client: &mut etcd_client::Client, key: &str) -> anyhow::Result<()>;
        }
    };
}

pub const EXERCISE: Exercise = Exercise {
    name: "counter",
    hint: "etcd can write under a condition: a transaction compares first, then writes, and \
           nothing comes in between. Which number of the key tells that nobody has written since \
           you read? And what do you do when somebody has?",
};

const CLIENTS: usize = 8;
const ROUNDS: usize = 50;
/// What another program adds.
const MORE: i64 = 10;
/// After so many requests another program does not add any more. Who gives up sooner has lost an addition.
const OFTEN: usize = 30;
/// No number.
const NONSENSE: &str = "many";
/// So many requests are enough to add 1 while nobody else writes the counter.
const ENOUGH: usize = 20;

pub async fn run(scene: Scene) -> Result<Verdict> {
    let between_others = async |overtaken| {
        round(async |attempt| add_between_others(&scene, &overtaken, attempt).await).await
    };
    // Other keys change, the counter does not, or once. If that works, it is not worth a line.
    let alone =
        counted_round(async |attempt| add_between_others(&scene, &(0..0), attempt).await).await?;
    let requests = alone.responses;
    ensure!(requests > 0, "add has asked etcd for nothing, so nothing was tried");
    alone.judge()?;
    let overtaken = between_others(1..2).await?;
    add_to_nonsense(&scene).await?;

    writeln!(
        stdout(),
        "{CLIENTS} clients add 1 to the counter, all at the same time, {ROUNDS} times"
    )?;
    writeln!(stdout(), "each time, all of them have read it before any of them writes")?;
    let staged = round(async |attempt| add_together(&scene, attempt).await).await?;
    if staged {
        writeln!(stdout(), "the counter says {}", CLIENTS * ROUNDS)?;
    }

    writeln!(stdout(), "another program adds {MORE} between the requests of one client")?;
    overtaken.judge()?;
    for nth in 2..=requests {
        between_others(nth..nth + 1).await?.judge()?;
    }
    between_others(1..OFTEN).await?.judge()?;
    ensure!(
        staged,
        "the {CLIENTS} clients have not read the counter at the same time; is the machine busy?"
    );

    writeln!(stdout(), "the network loses the last request of a client, or the response to it")?;
    for beside in [false, true] {
        tokio::try_join!(
            add_with_loss(&scene, requests, Loss::Request, beside),
            add_with_loss(&scene, requests, Loss::Response, beside)
        )?;
        add_with_loss(&scene, requests, Loss::Connection, beside).await?;
    }
    if requests > 1 {
        add_with_loss(&scene, 1, Loss::First, false).await?;
    }
    writeln!(stdout(), "the last request of a client arrives after one that was sent later")?;
    add_with_loss(&scene, requests, Loss::Late, false).await?;
    held("nothing was lost, and nothing was added twice")
}

/// All clients add, again and again. Returns whether they did it at the same time.
async fn add_together(scene: &Scene, attempt: usize) -> Result<bool> {
    let key = &*scene.key(&format!("counter/{attempt}"));
    let mut counter = create(scene, key).await?;
    let (mut clients, mut wires) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (client, wire) = scene.connect_by_wire().await?;
        clients.push(client);
        wires.push(wire);
    }
    let start = |client: &Client| {
        let (answer, mut client, key) = (scene.answer, client.clone(), key.to_owned());
        spawn_local(async move { add(answer, &mut client, &key).await })
    };
    let (mut added, mut unstaged) = (0, 0);
    // Once may be a busy machine. Three times in a row, the clients wait for each other.
    for _ in 0..ROUNDS {
        wires.iter_mut().for_each(Wire::pause);
        let adds: Vec<_> = clients.iter().map(start).collect();

        // The first response to each client is paused until etcd has responded to all of them.
        let mut responses = Vec::new();
        let deadline = Instant::now() + REQUEST_TIMEOUT * 4 / 5;
        for wire in &mut wires {
            responses.extend(timeout_at(deadline, wire.response(1)).await.ok().flatten());
        }
        wires.iter_mut().for_each(Wire::open);
        unstaged = if responses.len() < CLIENTS { unstaged + 1 } else { 0 };
        drop(responses);

        for add in adds {
            add.await?.or_else(gave_up)?;
            added += 1;
        }
        if unstaged == 3 {
            break;
        }
    }

    let (number, puts) = read(&mut counter, key).await?;
    let what = format!("{CLIENTS} clients added {added}, the counter says {number}");
    match added - number {
        0 => Ok(unstaged < 3),
        1.. if puts < added => broken(
            format!("{what} ({} were never put)", added - puts),
            "how your code knows that its own put has taken place",
        ),
        lost @ 1.. => {
            scene.show(one_loss(&mut counter, key).await?);
            broken(
                format!("{what} ({lost} updates lost)"),
                "what others can do between your get and your put, and how you would notice it",
            )
        }
        _ => broken(format!("{what} ({} too many)", number - added), "what your code does again"),
    }
}

/// Returns how two of the clients came to put the same number: etcd has kept each of them.
async fn one_loss(counter: &mut Client, key: &str) -> Result<Steps> {
    let all = WatchOptions::new().with_start_revision(1).with_fragment();
    let mut history = within(REQUEST_TIMEOUT, counter.watch(key, Some(all))).await?;
    let (mut steps, mut before) = (Steps::default(), None);
    while let Some(response) = within(REQUEST_TIMEOUT, history.message()).await? {
        for event in response.events() {
            let number = event.kv().and_then(|kv| kv.value_str().ok()?.parse::<i64>().ok());
            // All clients have read it before any of them has written.
            if let (Some(number), true) = (number, before == number) {
                steps.add("one client", format!("get {}", number - 1));
                steps.add("another one", format!("get {}", number - 1));
                steps.add("one client", format!("put {number}"));
                steps.add("another one", format!("put {number}"));
                return Ok(steps);
            }
            before = number;
        }
    }
    Ok(steps)
}

/// One client adds. After each of etcd's responses another key changes, and after those with these
/// numbers, counted from 1, another program adds.
async fn add_between_others(
    scene: &Scene,
    overtaken: &Range<usize>,
    attempt: usize,
) -> Result<Between> {
    let key = &*scene.key(&format!("counter/{overtaken:?}/{attempt}"));
    let mut other = create(scene, key).await?;
    put(&mut other, &scene.key("another key"), 0).await?;
    let (mut client, mut wire) = scene.connect_by_wire().await?;
    // The client is dropped with the task. Then the wire returns `None`.
    let returned = &Cell::new(false);
    let adding = async move {
        add(scene.answer, &mut client, key).await.or_else(gave_up)?;
        returned.set(true);
        Ok(())
    };
    let (mut responses, mut more) = (0, 0);
    let interfere = async {
        // The response is on its way while this happens.
        while let Some(_response) = wire.response(1).await {
            if returned.get() {
                return broken(
                    "add has returned, and etcd responds to it later",
                    "what your code waits for before it says that it has added",
                );
            }
            responses += 1;
            if overtaken.contains(&responses) {
                let (number, _) = read(&mut other, key).await?;
                put(&mut other, key, number + MORE).await?;
                more += MORE;
            }
            // Now it is not the counter that has the newest revision.
            put(&mut other, &scene.key("another key"), 0).await?;
            if responses == overtaken.end + ENOUGH {
                return broken(
                    format!(
                        "{ENOUGH} requests have not added 1, and nobody else has written the counter, only \
 other keys"
                    ),
                    "which of etcd's numbers your code compares, and how, and whose changes it counts",
                );
            }
        }
        Ok(())
    };
    tokio::try_join!(adding, interfere)?;

    let (number, _) = read(&mut other, key).await?;
    Ok(Between { responses, more, number })
}

/// One client adds to what is no number.
async fn add_to_nonsense(scene: &Scene) -> Result<()> {
    let key = &*scene.key("counter/nonsense");
    let mut client = scene.connect().await?;
    let put = client.put(key, NONSENSE, None);
    within(REQUEST_TIMEOUT, put).await.context("put failed")?;
    let said = add(scene.answer, &mut client, key).await;
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    if said.is_ok() || found.kvs().first().is_none_or(|kv| kv.value() != NONSENSE.as_bytes()) {
        return broken(
            format!("the counter said {NONSENSE:?}, and add has added 1 to that"),
            "what your code does with an error",
        );
    }
    Ok(())
}

/// What has come of it when one client has added between others.
struct Between {
    /// How many responses it got.
    responses: usize,
    /// What another program has added.
    more: i64,
    number: i64,
}

impl Between {
    fn judge(&self) -> Result<()> {
        let Between { more, number, .. } = self;
        let what = match more {
            0 => format!("one client added 1, and the counter says {number}"),
            _ => format!("another program added {more} and you added 1, the counter says {number}"),
        };
        match number - more {
            1 => Ok(()),
            0 if *more > MORE => {
                broken(what, "how often your code tries, and what it says after that")
            }
            0 => broken(what, "how your code knows that its own put has taken place"),
            ..0 => broken(what, "what other programs can do between your requests"),
            _ => broken(what, "what your code writes, and what it does again"),
        }
    }
}

/// What never arrives, or late. With the connection the response is lost, and the client learns that at once.
#[derive(PartialEq)]
enum Loss {
    /// The request, which is the first one of several.
    First,
    Request,
    Response,
    Connection,
    /// The request arrives after the client's next one.
    Late,
}

/// One client adds, and its request of this number, or the response to it, never arrives. Then another
/// program may add 1, too.
async fn add_with_loss(scene: &Scene, nth: usize, loss: Loss, beside: bool) -> Result<()> {
    let what = match loss {
        Loss::First => "first request was lost",
        Loss::Request => "request was lost",
        Loss::Response => "response was lost",
        Loss::Connection => "connection was lost",
        Loss::Late => "request was late",
    };
    let key = &*scene.key(&format!("counter/{what}/{beside}"));
    let mut other = create(scene, key).await?;
    let (mut client, mut wire) = scene.connect_by_wire().await?;
    let limit = 5 * REQUEST_TIMEOUT;
    let adding = async move { timeout(limit, add(scene.answer, &mut client, key)).await };
    let lose = async {
        for _ in 1..nth {
            wire.response(1).await;
        }
        let lost = match wire.request().await {
            Some(request) if loss == Loss::Late => {
                let next = wire.response(1).await; // none from a client that has given up
                request.arrive_late().await?;
                drop(next);
                (None, None)
            }
            Some(request) if matches!(loss, Loss::Response | Loss::Connection) => {
                (None, request.response().await)
            }
            request => (request, None),
        };
        if beside {
            let (number, _) = read(&mut other, key).await?;
            put(&mut other, key, number + 1).await?;
        }
        wire.open();
        anyhow::Ok(match lost {
            (None, Some(response)) if loss == Loss::Connection => {
                response.lose_connection();
                (None, None)
            }
            lost => lost,
        })
    };
    // What is lost stays in the experiment's hands until the client has come to an end.
    let (said, lost) = tokio::join!(adding, lose);
    let _lost = lost?;

    let (number, _) = read(&mut other, key).await?;
    let added = number - i64::from(beside);
    let what = format!("the {what}{}", if beside { ", and another program added 1" } else { "" });
    match said {
        Err(_) => broken(
            format!("what the network has lost is still waited for after {limit:?}"),
            "which of your requests has no limit",
        ),
        Ok(Ok(())) if added == 0 && beside => broken(
            format!("{what}: add says that it has added 1, and it has not"),
            "who else can have changed the counter when your code looks at it again",
        ),
        Ok(Ok(())) if added == 0 => broken(
            format!("{what}: add says that it has added 1, and it has not"),
            "what your code does with an error",
        ),
        // Who cannot know it may say neither, and gives up.
        _ if added <= 1 => Ok(()),
        _ => broken(
            format!("{what}: you added 1, and the counter says {number}"),
            "what your code does again, and whether the first time really did nothing",
        ),
    }
}

/// Begins to count at 0.
async fn create(scene: &Scene, key: &str) -> Result<Client> {
    let mut client = scene.connect().await?;
    // A key that does not exist has revision 0: nobody's counter is overwritten.
    let create = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, "0", None)]);
    let response = within(REQUEST_TIMEOUT, client.txn(create)).await.context("txn failed")?;
    ensure!(response.succeeded(), "there is a counter already");
    Ok(client)
}

/// Returns the number, and how often it was put since it was 0.
async fn read(client: &mut Client, key: &str) -> Result<(i64, i64)> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let look = "what your code writes, and where";
    let Some(kv) = found.kvs().first() else {
        return broken("the counter is gone", look);
    };
    match kv.value_str()?.parse() {
        Ok(number) => Ok((number, kv.version() - 1)),
        Err(_) => broken(format!("the counter says {:?}", kv.value_str()?), look),
    }
}

async fn put(client: &mut Client, key: &str, value: i64) -> Result<()> {
    within(REQUEST_TIMEOUT, client.put(key, value.to_string(), None))
        .await
        .context("put failed")?;
    Ok(())
}
