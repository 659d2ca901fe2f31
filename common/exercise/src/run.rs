use std::env;
use std::io::{Write, stdout};
use std::pin::Pin;
use std::process::{ExitCode, exit};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use tokio::runtime::Builder;
use tokio::task::{JoinError, LocalSet};
use tokio::time::timeout;

use crate::course::{Exercise, root};
use crate::machine::{self, Excuse};
use crate::progress;
use crate::report::Report;
use crate::say;
use crate::scene::Scene;
use crate::text::complain;
use crate::verdict::{TooSlow, Verdict, broken, too_slow};

/// How long an experiment may take: 28 s.
const LIMIT: Duration = Duration::from_secs(28);

/// An experiment that still went on to something new this long before its limit is not *broken*.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// What an answer returns. The answers have different types of futures, and an experiment tries
/// them all.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Tries the answer in `yours.rs`, and prints the picture and the verdict. With the argument
/// `hint`, the program prints a hint instead. `yours` is the text of `yours.rs`. Returns the exit
/// status: 0 for *held* and for a hint, 1 for *broken*, and 2 for no verdict.
pub fn run<F>(name: &str, yours: &str, experiment: impl FnOnce(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    status(run_argument(name, yours, experiment))
}

/// Tries another answer in the same way, but reports it neither to the class nor to `cargo
/// progress`.
pub fn try_answer<F>(experiment: impl FnOnce(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    status(show_verdict(experiment).map(|verdict| verdict.status()))
}

fn status(ended: Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        complain(&format!("no verdict: {error:#}"));
        ExitCode::from(2)
    })
}

fn run_argument<F>(name: &str, yours: &str, experiment: impl FnOnce(Scene) -> F) -> Result<ExitCode>
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    let exercise = Exercise::find(name).with_context(|| format!("COURSE has no {name}"))?;
    let words: Vec<String> = env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["hint"] => {
            say!("{}", exercise.hint)?;
            return Ok(ExitCode::SUCCESS);
        }
        ["--help"] => {
            say!("tries yours.rs; `-- hint` prints a hint")?;
            return Ok(ExitCode::SUCCESS);
        }
        ["solution"] => bail!("it is in another program: cargo progress solution {name}"),
        words => bail!("cannot use {:?}; usage: {} [-- hint]", words.join(" "), exercise.command()),
    }
    // The board of a class shows only what students tried.
    let report = Report::begin(name);
    let verdict = show_verdict(experiment)?;
    if let Verdict::Held(_) = verdict {
        let compare = exercise.answer("solution.rs");
        if root().join(&compare).exists() {
            say!("compare it with {compare}")?;
        }
        match exercise.next() {
            Some(next) => say!("next: {}", next.command())?,
            None => say!("that was the last exercise")?,
        }
    }
    if let Err(error) = progress::note_verdict(exercise, yours, &verdict) {
        complain(&format!("cargo progress does not know this verdict: {error:#}"));
    }
    if let Some(report) = report {
        report.end(&verdict);
    }
    Ok(verdict.status())
}

fn show_verdict<F>(experiment: impl FnOnce(Scene) -> F) -> Result<Verdict>
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    let scene = Scene::default();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(judge(experiment(scene.clone())))?;
    write!(stdout(), "{}", scene.pictures(&verdict))?;
    writeln!(stdout(), "{}", verdict.shown())?;
    Ok(verdict)
}

async fn judge(experiment: impl Future<Output = Result<Verdict>> + 'static) -> Result<Verdict> {
    let tasks = LocalSet::new();
    tasks.spawn_local(machine::watch(end_blocked));
    // In a task, so that a panic of the answer doesn't end this function.
    let task = tasks.spawn_local(experiment);
    let verdict = match tasks.run_until(timeout(LIMIT, task)).await {
        Ok(ended) => ended.unwrap_or_else(|panic| Err(panic.into())),
        Err(_) => {
            ensure!(
                !machine::has_moved_on(IDLE_LIMIT),
                "the experiment still went on after {LIMIT:?}: this machine or your code is slow"
            );
            too_slow(
                format!("it did not end within {LIMIT:?}"),
                "what may take too long: a request without a limit, a loop without a way out, a pause",
            )
        }
    };
    // This task has panicked, or one that the experiment has started and waited for.
    let panicked = |error: &Error| error.downcast_ref().is_some_and(JoinError::is_panic);
    let verdict = match verdict {
        Err(error) if panicked(&error) => {
            broken("it panicked; the message is above", "the line that the message names")
        }
        verdict => verdict,
    };
    let (verdict, was_too_slow) = match verdict {
        Ok(held) => return Ok(held),
        Err(error) => match error.downcast() {
            Ok(TooSlow(verdict)) => (verdict, true),
            Err(error) => (error.downcast()?, false), // any other error means no verdict
        },
    };
    excuse(verdict, was_too_slow)
}

/// Returns a *broken* verdict, or no verdict if the machine may be to blame.
fn excuse(verdict: Verdict, was_too_slow: bool) -> Result<Verdict> {
    let Verdict::Broken { what, .. } = &verdict else { return Ok(verdict) };
    match machine::excuse(was_too_slow) {
        None => Ok(verdict),
        Some(Excuse::Standstill(time)) => {
            bail!(
                "this machine stood still for {time:?}, so this does not count: {what}; try again"
            )
        }
        Some(Excuse::Delay(time)) => {
            bail!("this machine was slow (by {time:?}), so this does not count: {what}; try again")
        }
    }
}

/// Ends the program with a verdict. It is called on another thread, because the answer blocks the
/// main thread.
fn end_blocked(time: Duration) {
    let what = format!("it blocked the thread for {time:?}");
    let hint = "a loop that never awaits, or a pause that stops the thread: std::thread::sleep";
    let code = match excuse(Verdict::Broken { what, hint }, true) {
        Ok(verdict) => {
            let _ = writeln!(stdout(), "{}", verdict.shown());
            1
        }
        Err(error) => {
            complain(&format!("no verdict: {error:#}"));
            2
        }
    };
    exit(code);
}
