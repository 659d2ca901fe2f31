//! For the exercises of the chapters.
//!
//! An exercise is an example of its chapter. Its `main.rs` is an experiment on a real etcd that ends with
//! a [`Verdict`]. It tries an answer, a module with the functions that the exercise asks for:
//! `yours.rs`, the only file that a student edits, or another one that the command names, such as
//! `solution`. [`run`] does this.
//!
//! A fault must come at the same moment in each run. So an experiment can pause what a client sends and
//! receives: single requests and responses on a [`Wire`], or everything with an `etcd_server::Proxy`.

mod answers;
mod scene;
mod verdict;
mod wire;

use std::env;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use tokio::task::{JoinError, LocalSet};
use tokio::time::timeout;

pub use edits::edits;
pub use scene::{Scene, blocking, connect_by_wire_to, connect_to};
pub use verdict::{Stopwatch, Verdict, broken, check_running, gave_up, held, round};
pub use wire::{PausedRequest, PausedResponse, Sent, Wire};

/// How long an experiment may take: 28 s. An answer that blocks the thread without an `await` is not
/// stopped.
const LIMIT: Duration = Duration::from_secs(28);

/// An exercise, without its experiment.
pub struct Exercise {
    /// The name of the example.
    pub name: &'static str,
    /// The names of its answers. `yours` must be one of them.
    pub answers: &'static [&'static str],
    /// The second hint. The first one is in each broken verdict.
    pub hint: &'static str,
}

/// Tries the answer that the program's argument names, `yours` without one, and prints the verdict; or
/// prints a hint. Returns the exit status: 0 for `held` and for a hint, 1 for `broken`, and 2 if there
/// is no verdict.
pub async fn run<F>(exercise: Exercise, experiment: fn(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    let shown = async {
        let verdict = judge(&exercise, experiment).await?;
        match &verdict {
            Some(verdict) => writeln!(stdout(), "{verdict}")?,
            None => writeln!(stdout(), "{}", exercise.hint)?,
        }
        Ok::<_, Error>(verdict)
    };
    match shown.await {
        Ok(None | Some(Verdict::Held(_))) => ExitCode::SUCCESS,
        Ok(Some(Verdict::Broken { .. })) => ExitCode::from(1),
        Err(error) => {
            eprintln!("no verdict: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns the verdict, or `None` if the argument asks for a hint.
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
    // A task of its own, so that the keys are removed also if an answer panics.
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
    drop(tasks); // a task that an answer has left running must not put anything any more
    if let Err(error) = scene.clean().await {
        eprintln!("{error:#}");
    }
    // `broken` has come as an error.
    verdict.or_else(Error::downcast).map(Some)
}
