//! The experiment of the exercise `counter`: eight clients count in one key.
//!
//! Repair `yours.rs`, not this file.

mod edits;
mod mistake;
mod solution;
mod wrong_mutex;
mod wrong_once;
mod yours;

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use common::{REQUEST_TIMEOUT, within};
use edits::*;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use exercise::{Exercise, Scene, Verdict, Wire, broken, gave_up, held};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

// Every answer has this function. A call names the answer first: `add(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_mutex, wrong_once, wrong_first];
    async fn add(client: &mut Client, key: &str) -> Result<()>;
}

const EXERCISE: Exercise = Exercise {
    name: "counter",
    answers: ANSWERS,
    hint: "etcd can write under a condition: a transaction compares first, then writes, and \
           nothing comes in between. Which number of the key tells that nobody has written since \
           you read? And what do you do when somebody has?",
};

const CLIENTS: usize = 8;
const ROUNDS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut client = scene.connect().await?;
    let key = &*scene.key("counter");

    // A key that does not exist has revision 0: nobody's counter is overwritten.
    let create = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, "0", None)]);
    let response = within(REQUEST_TIMEOUT, client.txn(create)).await.context("txn failed")?;
    ensure!(response.succeeded(), "there is a counter already");

    let (mut clients, mut wires) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (client, wire) = scene.connect_by_wire().await?;
        clients.push(client);
        wires.push(wire);
    }
    writeln!(
        stdout(),
        "{CLIENTS} clients add 1 to the counter, all at the same time, {ROUNDS} times"
    )?;
    writeln!(stdout(), "each time, all of them have read it before any of them writes")?;

    let start = |client: &Client| {
        let (answer, mut client, key) = (scene.answer, client.clone(), key.to_owned());
        spawn_local(async move { add(answer, &mut client, &key).await })
    };
    let (mut added, mut unstaged) = (0, 0);
    for _ in 0..ROUNDS {
        wires.iter_mut().for_each(Wire::pause);
        let adds: Vec<_> = clients.iter().map(start).collect();

        // The first response to each client is paused until etcd has responded to all of them.
        let mut responses = Vec::new();
        let deadline = Instant::now() + REQUEST_TIMEOUT / 2;
        for wire in &mut wires {
            responses.extend(timeout_at(deadline, wire.response(1)).await.ok().flatten());
        }
        wires.iter_mut().for_each(Wire::open);
        let together = responses.len();
        drop(responses);

        for add in adds {
            add.await?.or_else(gave_up)?;
            added += 1;
        }
        unstaged += usize::from(together < CLIENTS);
        // On a busy machine this may happen, but not again and again.
        if unstaged == 3 && read(&mut client, key).await? == added {
            bail!(
                "only {together} of {CLIENTS} clients have read the counter, the others wait for it; \
                 they stand for {CLIENTS} programs on {CLIENTS} machines, and each knows about the \
                 others only what etcd says"
            );
        }
    }

    let number = read(&mut client, key).await?;
    let what = format!("{CLIENTS} clients added {added}, the counter says {number}");
    match added - number {
        0 => held(what),
        lost @ 1.. => broken(
            format!("{what} ({lost} updates lost)"),
            "what others can do between your get and your put, and how you would notice it",
        ),
        _ => broken(
            format!("{what} ({} counted twice)", number - added),
            "what your code does again, and whether the first time really did nothing",
        ),
    }
}

async fn read(client: &mut Client, key: &str) -> Result<i64> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    Ok(found.kvs().first().context("the counter is gone")?.value_str()?.parse()?)
}
