//! What the exercises of the chapters have in common.
//!
//! An exercise is an example of its chapter: `main.rs` is an experiment on a real
//! etcd that ends in a verdict, `yours.rs` is what it tries, the only file to edit.
//! It is [run] with the name of another answer instead, such as `solution`, or with
//! `hint`.
//!
//! What must not depend on luck is staged: on a [`Wire`] the experiment holds the
//! requests and answers of a client, with an `etcd_server::Proxy` everything that
//! passes between client and server, and it lets go when it has done what it wanted to do.

mod answers;
mod scene;
mod verdict;
mod wire;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use tokio::task::{JoinError, LocalSet};
use tokio::time::timeout;

pub use scene::{Scene, blocking, connect_by_wire_to, connect_to};
pub use verdict::{Stopwatch, Verdict, broken, check_running, gave_up, held};
pub use wire::{Answer, Call, Wire};

/// How long an experiment may take, with an answer that never comes back.
const LIMIT: Duration = Duration::from_secs(25);

/// What an exercise is, apart from its experiment.
pub struct Exercise {
    /// That of the example.
    pub name: &'static str,
    /// What can be tried; `yours` is among them.
    pub answers: &'static [&'static str],
    /// The second hint; each broken verdict has the first one for its case.
    pub hint: &'static str,
}

/// Does as the program's argument says, and prints the verdict. The exit status is
/// 0 if it is `held`, 1 if it is `broken`, and 2 if there is none.
pub async fn run<F>(exercise: Exercise, experiment: fn(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    match judge(&exercise, experiment).await {
        Ok(None) => {
            println!("{}", exercise.hint);
            ExitCode::SUCCESS
        }
        Ok(Some(verdict)) => {
            println!("{verdict}");
            match verdict {
                Verdict::Held(_) => ExitCode::SUCCESS,
                Verdict::Broken { .. } => ExitCode::from(1),
            }
        }
        Err(error) => {
            eprintln!("no verdict: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The verdict; `None` if a hint is wanted.
async fn judge<F>(exercise: &Exercise, experiment: fn(Scene) -> F) -> Result<Option<Verdict>>
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    let words: Vec<String> = env::args().skip(1).collect();
    let name = if words.is_empty() { "yours" } else { &words.join(" ") };
    if name == "hint" {
        return Ok(None);
    }
    let Some(answer) = exercise.answers.iter().find(|answer| **answer == name) else {
        bail!(
            "there is no answer called {name:?}; there are: {}; and there is: hint",
            exercise.answers.join(", ")
        );
    };
    let scene = Scene::new(exercise.name, answer)?;
    // A task of its own, so that a panic in an answer does not keep us from cleaning up.
    let tasks = LocalSet::new();
    let task = tasks.spawn_local(experiment(scene.clone()));
    let verdict = match tasks.run_until(timeout(LIMIT, task)).await {
        Ok(ended) => ended.unwrap_or_else(|panic| Err(panic.into())),
        Err(_) => broken(
            format!("it has not come to an end within {LIMIT:?}"),
            "what may wait for ever: a request without a limit, or a loop without a way out",
        ),
    };
    // The task of the experiment, or one that it has started.
    let panicked = |error: &Error| error.downcast_ref().is_some_and(JoinError::is_panic);
    let verdict = match verdict {
        Err(error) if panicked(&error) => {
            broken("it panicked; the message is above", "the line that the message names")
        }
        verdict => verdict,
    };
    drop(tasks); // whatever an answer has left running must not put anything any more
    scene.clean().await?;
    verdict.or_else(Error::downcast).map(Some)
}
