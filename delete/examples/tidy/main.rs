//! The experiment of the exercise `tidy`: jobs are removed while others use them.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_look;
mod wrong_prefix;
mod yours;

use std::collections::HashSet;
use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};
use exercise::{Exercise, Scene, Verdict, broken, gave_up, held};

// Every answer has this function. A call names the answer first: `tidy(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_look, wrong_prefix];
    async fn tidy(client: &mut Client, folder: &str) -> Result<i64>;
}

const EXERCISE: Exercise = Exercise {
    name: "tidy",
    answers: ANSWERS,
    hint: "A check before the delete does not help, however late it is: a change can come after it. \
           Let etcd compare and delete in one step, as in the exercise counter of put-get. And \
           which keys begin with the name of the folder?",
};

/// These jobs are done, and nobody changes them.
const DONE: [&str; 2] = ["jobs/1", "jobs/3"];
/// These jobs are done, and are started again meanwhile.
const AGAIN: [&str; 2] = ["jobs/2", "jobs/4"];
/// Other keys and values.
const OTHERS: [(&str, &str); 3] =
    [("jobs/5", "running"), ("jobs-old/1", "done"), ("jobs2/1", "done")];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut client = scene.connect().await?;
    let folder = &*scene.key("jobs");
    let (mut restarted, mut removed) = (0, 0);

    // A fault after the first request, after the second and so on, until `tidy` sends fewer
    // requests, and no fault comes.
    for nth in 1.. {
        for job in [DONE, AGAIN].as_flattened() {
            put(&mut client, &scene.key(job), "done").await?;
        }
        for (key, value) in OTHERS {
            put(&mut client, &scene.key(key), value).await?;
        }

        let (mut other, mut wire) = scene.connect_by_wire().await?;
        let start_again = async {
            // etcd's response is on its way while this happens.
            let response = wire.response(nth).await;
            if response.is_some() {
                for job in AGAIN {
                    put(&mut client, &scene.key(job), "running").await?;
                }
            }
            wire.open();
            anyhow::Ok(response.is_some())
        };
        // The client is dropped with the task. Then the wire returns `None`.
        let tidying = async move { tidy(scene.answer, &mut other, folder).await };
        let (counted, staged) = tokio::join!(tidying, start_again);
        let staged = staged?;
        let counted = counted.or_else(gave_up)?;
        ensure!(staged || nth > 1, "tidy has asked etcd for nothing, so nothing was tried");
        if staged {
            writeln!(
                stdout(),
                "4 jobs were done; after the response to your request {nth}, two of them were started again"
            )?;
        } else {
            writeln!(stdout(), "4 jobs were done; tidy says that it removed {counted}")?;
        }

        let keys = keys(&scene, &mut client).await?;
        let gone = |name: &str| !keys.contains(name);
        let destroyed: Vec<&str> = AGAIN.into_iter().filter(|job| gone(job)).collect();
        if staged && !destroyed.is_empty() {
            return broken(
                format!("newer values were destroyed: {}", destroyed.join(", ")),
                "what others can do between your look at a job and your delete",
            );
        }
        let taken: Vec<&str> = OTHERS.iter().map(|(key, _)| *key).filter(|key| gone(key)).collect();
        if !taken.is_empty() {
            return broken(
                format!("what was not done, or no job at all, is gone: {}", taken.join(", ")),
                "which keys begin with what your code asks for",
            );
        }
        let expected = if staged { &DONE[..] } else { [DONE, AGAIN].as_flattened() };
        let left = expected.iter().filter(|job| !gone(job)).count();
        if left > 0 {
            return broken(
                format!("of {} jobs that stayed done, {left} are still there", expected.len()),
                "the jobs that your code does not come to",
            );
        }
        if !staged && counted != 4 {
            return broken("the number that tidy returns is not 4", "what your code counts");
        }
        removed += expected.len();
        if !staged {
            break;
        }
        restarted += AGAIN.len();
    }
    held(format!("{restarted} jobs were started again and are there, {removed} others are gone"))
}

async fn put(client: &mut Client, key: &str, value: &str) -> Result<()> {
    within(REQUEST_TIMEOUT, client.put(key, value, None)).await.context("put failed")?;
    Ok(())
}

/// Returns all keys, by the names above, with their values.
async fn keys(scene: &Scene, client: &mut Client) -> Result<HashSet<String>> {
    let all = GetOptions::new().with_prefix().with_keys_only();
    let found = within(REQUEST_TIMEOUT, client.get(scene.key(""), Some(all)))
        .await
        .context("get failed")?;
    found.kvs().iter().map(|kv| Ok(scene.shown(kv.key_str()?).to_owned())).collect()
}
