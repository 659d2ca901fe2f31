//! The experiment of the exercise `fencing`: two writers under a lock, one of them paused.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_alive;
mod wrong_asks;
mod wrong_early;
mod wrong_sure;
mod yours;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};
use exercise::{Exercise, PausedRequest, Scene, Verdict, Wire, broken, gave_up, held};
use lock::Session;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

// Every answer has this function. A call names the answer first: `add(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_alive, wrong_asks, wrong_early, wrong_sure];
    async fn add(client: &mut Client, session: &Session, lock: &str, key: &str) -> Result<bool>;
}

const EXERCISE: Exercise = Exercise {
    name: "fencing",
    answers: ANSWERS,
    hint: "However late you check that the lock is still yours, a pause can come after the check. Only \
           etcd can compare and write in one step. Which method of the guard is for that? What do \
           you return when etcd has refused?",
};

/// The first renewal is due after a third: until then a client sends what `add` sends.
const TTL: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut client = scene.connect().await?;
    let (paused, mut wire) = scene.connect_by_wire().await?;
    let (lock, key) = (scene.key("lock"), scene.key("number"));
    within(REQUEST_TIMEOUT, client.put(&*key, "0", None)).await.context("put failed")?;
    let start = |client: &Client, session| -> JoinHandle<Result<bool>> {
        let (answer, mut client) = (scene.answer, client.clone());
        let (lock, key) = (lock.clone(), key.clone());
        spawn_local(async move { add(answer, &mut client, &session, &lock, &key).await })
    };

    writeln!(stdout(), "two writers add 1 to a number, each under the same lock")?;
    writeln!(
        stdout(),
        "the first is paused, and if it has the lock, its lease ends; then the second adds"
    )?;

    let (mut pause, mut refused, mut unstaged) = (1, 0, 0);
    let mut before = read(&mut client, &key).await?;
    loop {
        wire.open();
        let session = Session::open(&paused, TTL).await?;
        wire.pause();
        let mut first = start(&paused, session);
        let call = tokio::select! {
            call = request(&mut wire, pause) => call.context("the writer has no client")?,
            // It sends fewer requests: it was not paused.
            said = &mut first => match said?.or_else(gave_up)? {
                true => break,
                false => return refuses("a writer that was not paused"),
            },
        };

        // The pause changes nothing in what the writer sends next. So the experiment need not wait
        // for the TTL and revokes the lease, as etcd does with a lease that has run out.
        let since = Instant::now();
        end_lease_of_owner(&mut client, &lock).await?;
        let session = Session::open(&client, TTL).await?;
        if !start(&client, session).await?.or_else(gave_up)? {
            return refuses("the second writer, which had the lock,");
        }
        let long = since.elapsed();
        drop(call);
        wire.open();
        let first = first.await?;

        let now = read(&mut client, &key).await?;
        let (writes, grown) = (now.writes - before.writes, now.number - before.number);
        before = now;
        if long > REQUEST_TIMEOUT / 2 {
            // The first may have given up its request. On a busy machine this may happen, but
            // not again and again.
            unstaged += 1;
            ensure!(unstaged < 3, "the second writer takes too long: {long:.1?}");
            continue;
        }
        writeln!(
            stdout(),
            "paused before its request {pause}: {writes} written, the number grows by {grown}"
        )?;
        match first {
            _ if writes > grown => {
                return broken(
                    format!(
                        "{writes} additions were written, the number grew by {grown} ({} lost)",
                        writes - grown
                    ),
                    "what has happened to the number since your code has read it, and who could \
                     have refused the write",
                );
            }
            Ok(true) if writes < 2 => {
                return broken(
                    "the first writer says that it has added, and it has not",
                    "what etcd's response says, besides that it has come",
                );
            }
            Ok(false) if writes > 1 => {
                return broken(
                    "the first writer says that it has not added, and it has",
                    "what your code goes by when it says whether it has added",
                );
            }
            _ => refused += usize::from(writes < 2),
        }
        pause += 1;
    }
    let end = read(&mut client, &key).await?;
    if end.number - before.number != 1 {
        return broken("a writer that was not paused has not added 1", "what your code writes");
    }
    held(format!("nothing was lost; of {} paused writers, etcd refused {refused}", pause - 1))
}

fn refuses(who: &str) -> Result<Verdict> {
    broken(
        format!("{who} says that it has not added"),
        "the condition under which your code writes",
    )
}

/// Lets all requests pass before the `nth`, and returns that one, paused.
async fn request(wire: &mut Wire, nth: usize) -> Option<PausedRequest> {
    for _ in 1..nth {
        drop(wire.request().await?);
    }
    wire.request().await
}

/// Ends the lease of the writer that has the lock, if one has it. Nobody waits for it yet.
async fn end_lease_of_owner(client: &mut Client, lock: &str) -> Result<()> {
    let queue = GetOptions::new().with_prefix();
    let queue = within(REQUEST_TIMEOUT, client.get(format!("{lock}/"), Some(queue))).await?;
    for kv in queue.kvs() {
        within(REQUEST_TIMEOUT, client.lease_revoke(kv.lease())).await.context("revoke failed")?;
    }
    Ok(())
}

/// The number, and how often it was written.
struct Number {
    number: i64,
    writes: i64,
}

async fn read(client: &mut Client, key: &str) -> Result<Number> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("the number is gone")?;
    Ok(Number { number: kv.value_str()?.parse()?, writes: kv.version() })
}
