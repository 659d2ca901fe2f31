//! For the exercises of the chapters.
//!
//! An exercise is an example of its chapter. Its `experiment.rs` is an experiment on a real etcd that ends
//! with a [`Verdict`]. It tries an answer, a module with the functions that the exercise asks for:
//! `yours.rs`, the only file that a student edits, or another one that the command names, such as
//! `solution`. [`run`] does this.
//!
//! An exercise is two programs: `NAME` has all answers but `yours`, and builds and starts `NAME-yours`
//! if that one is to be tried. So hints and the solution come also when `yours.rs` does not compile.
//!
//! A fault must come at the same moment in each run. So an experiment can pause what a client sends and
//! receives: single requests and responses on a [`Wire`], or everything with an `etcd_server::Proxy`.

mod answers;
mod course;
mod etcd;
mod picture;
mod progress;
mod report;
mod scene;
mod screen;
mod stage;
mod verdict;
mod wire;

use std::env;
use std::io::{Write, stdout};
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result, ensure};
use tokio::runtime::Builder;
use tokio::task::{JoinError, LocalSet};
use tokio::time::{sleep, timeout};

pub use course::{COURSE, root};
pub use edits::edits;
pub use etcd::{Change, Etcd};
pub use picture::{NOTHING, Sign, Steps, Timeline};
pub use progress::{Work, all_work};
pub use report::{CLASS, HERE, RUNNING};
pub use scene::{Scene, blocking, connect_by_wire_to, connect_to};
pub use screen::{Cell, Row, Screen};
pub use stage::Fault;
pub use verdict::{
    Stages, Stopwatch, Verdict, broken, check_running, counted_round, gave_up, held, round,
};
pub use wire::{PausedRequest, PausedResponse, Sent, Wire};

use report::Report;

/// Prints a line of an experiment. It is an error if nobody reads it.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), $($line)*)
    }};
}

/// How long an experiment may take: 28 s.
const LIMIT: Duration = Duration::from_secs(28);

/// *Broken* does not count if the machine stood still for so long meanwhile: 0.5 s.
const STILL_LIMIT: Duration = Duration::from_millis(500);

/// For how much longer than not an answer may keep the thread for itself: 1.5 s.
const ALONE_LIMIT: Duration = Duration::from_millis(1500);

/// An exercise, without its experiment.
pub struct Exercise {
    /// The name of the example.
    pub name: &'static str,
    /// The second hint. The first one is in each broken verdict.
    pub hint: &'static str,
}

/// Tries the answer that the program's argument names, `yours` without one, and prints the picture and the
/// verdict; or prints a hint. `answers` are those that this program has. Returns the exit status: 0 for
/// `held` and for a hint, 1 for `broken`, and 2 if there is no verdict.
pub fn run<F>(exercise: Exercise, answers: &[&'static str], experiment: fn(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    match run_argument(&exercise, answers, experiment) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("no verdict: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_argument<F>(
    exercise: &Exercise,
    answers: &[&'static str],
    experiment: fn(Scene) -> F,
) -> Result<ExitCode>
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    let words: Vec<String> = env::args().skip(1).collect();
    let name = if words.is_empty() { "yours" } else { &words.join(" ") };
    if name == "hint" {
        writeln!(stdout(), "{}", exercise.hint)?;
        return Ok(ExitCode::SUCCESS);
    }
    if name == "--help" {
        let help = "tries yours.rs; `-- hint` prints a hint, `-- solution` tries solution.rs";
        writeln!(stdout(), "{help}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(answer) = answers.iter().find(|answer| **answer == name) else {
        if answers == ["yours"] {
            let has_answers = root().join("tests/answers").exists();
            ensure!(has_answers, "this copy has no solutions; there is: hint");
            return course::try_in("tests", &format!("{}-answers", exercise.name), &words);
        }
        ensure!(name != "solution", "this copy has no solutions; there is: hint");
        // The names of the others would tell what is wrong.
        ensure!(
            name == "yours",
            "there is no answer called {name:?}; there are: yours, solution, hint"
        );
        let chapter =
            COURSE.iter().find(|(_, other)| *other == exercise.name).map_or("", |of| of.0);
        return course::try_in(chapter, &format!("{}-yours", exercise.name), &[]);
    };
    let scene = Scene::new(exercise.name, answer)?;
    // Only what a student has done is of interest to a class.
    let report = if name == "yours" { Report::begin(exercise.name) } else { None };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(judge(&scene, experiment))?;
    write!(stdout(), "{}", scene.pictures(&verdict))?;
    writeln!(stdout(), "{verdict}")?;
    if let (Verdict::Held(_), "yours") = (&verdict, name) {
        writeln!(stdout(), "{}", course::next(exercise.name))?;
    }
    if name == "yours"
        && let Some(work) = all_work().into_iter().find(|work| work.name == exercise.name)
        && let Err(error) = work.tried(&verdict)
    {
        eprintln!("cargo progress does not know this verdict: {error:#}");
    }
    if let Some(report) = report {
        report.end(&verdict);
    }
    Ok(match verdict {
        Verdict::Held(_) => ExitCode::SUCCESS,
        Verdict::Broken { .. } => ExitCode::from(1),
    })
}

async fn judge<F>(scene: &Scene, experiment: fn(Scene) -> F) -> Result<Verdict>
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    // A task of its own, so that the keys are removed also if an answer panics.
    let tasks = LocalSet::new();
    let stood_still = Arc::new(AtomicU64::new(0));
    tasks.spawn_local(end_if_blocked(Arc::clone(&stood_still)));
    let task = tasks.spawn_local(experiment(scene.clone()));
    let verdict = match tasks.run_until(timeout(LIMIT, task)).await {
        Ok(ended) => ended.unwrap_or_else(|panic| Err(panic.into())),
        Err(_) => broken(
            format!("it has not come to an end within {LIMIT:?}"),
            "what may wait for too long: a request without a limit, a loop without a way out, a pause",
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
    let verdict = verdict.or_else(Error::downcast)?;
    let still = Duration::from_millis(stood_still.load(Ordering::Relaxed));
    ensure!(
        matches!(verdict, Verdict::Held(_)) || still < STILL_LIMIT,
        "this machine stood still for {still:?}, so the answer could not be in time; try again"
    );
    Ok(verdict)
}

/// Ends the program if an answer keeps the thread for itself: no other task runs then, so that nobody
/// else could end it. Its keys stay. Dropping this future ends the watch over the thread. Notes the longest
/// time, in milliseconds, for which the whole program stood still.
async fn end_if_blocked(stood_still: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(100);
    let ticks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::downgrade(&ticks);
    thread::spawn(move || {
        let (mut last, mut alone) = (0, Duration::ZERO);
        while let Some(ticks) = seen.upgrade() {
            let now = ticks.load(Ordering::Relaxed);
            // Counted here, so that the time when the whole program is frozen does not count.
            alone = if now == last { alone + TICK } else { alone.saturating_sub(TICK) };
            last = now;
            if alone > ALONE_LIMIT {
                let what = format!("for {ALONE_LIMIT:?} it has let nothing else run");
                let look = "a loop that never awaits, or a pause that stops the thread: std::thread::sleep";
                let _ = writeln!(stdout(), "{}", Verdict::Broken { what, look });
                exit(1);
            }
            drop(ticks);
            let since = std::time::Instant::now();
            thread::sleep(TICK);
            let still = since.elapsed().saturating_sub(TICK).as_millis();
            stood_still.fetch_max(still.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    });
    loop {
        ticks.fetch_add(1, Ordering::Relaxed);
        sleep(TICK / 2).await;
    }
}
