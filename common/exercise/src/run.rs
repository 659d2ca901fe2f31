use std::env;
use std::fs;
use std::io::{Write, stdout};
use std::pin::Pin;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use tokio::runtime::Builder;
use tokio::task::{JoinError, LocalSet};
use tokio::time::{sleep, timeout};

use crate::course::{Exercise, root};
use crate::progress;
use crate::report::Report;
use crate::say;
use crate::scene::Scene;
use crate::text::complain;
use crate::verdict::{Verdict, broken};

/// How long an experiment may take: 28 s.
const LIMIT: Duration = Duration::from_secs(28);

/// *Broken* does not count if the machine stood still for so long meanwhile: 0.5 s.
const STILL_LIMIT: Duration = Duration::from_millis(500);

/// For how much longer than not an answer may keep the thread for itself: 1.5 s.
const ALONE_LIMIT: Duration = Duration::from_millis(1500);

/// What an answer returns: each of them is a function of its own, and an experiment takes any of them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Tries the answer in `yours.rs`, whose text is `yours`, and prints the picture and the verdict; or prints a
/// hint, if the program's argument is `hint`. Returns the exit status: 0 for `held` and for a hint, 1 for `broken`, and 2 if there
/// is no verdict.
pub fn run<F>(name: &str, yours: &str, experiment: impl FnOnce(Scene) -> F) -> ExitCode
where
    F: Future<Output = Result<Verdict>> + 'static,
{
    status(run_argument(name, yours, experiment))
}

/// Tries another answer in the same way, without a word to anybody about it.
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
    // Only what a student has done is of interest to a class.
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
    let stood_still = Arc::new(AtomicU64::new(0));
    tasks.spawn_local(end_if_blocked(Arc::clone(&stood_still)));
    // A task of its own, so that a panic of an answer ends nothing else.
    let task = tasks.spawn_local(experiment);
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
/// else could end it. Dropping this future ends the watch over the thread. Notes the longest
/// time, in milliseconds, for which the whole program stood still.
async fn end_if_blocked(stood_still: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(100);
    let ticks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::downgrade(&ticks);
    thread::spawn(move || {
        let (mut last, mut alone, mut waited) = (0, Duration::ZERO, starved());
        while let Some(ticks) = seen.upgrade() {
            let now = ticks.load(Ordering::Relaxed);
            // Counted here, so that the time when the whole program is frozen does not count. Nor
            // does the time when the thread of the answer had to wait for a processor.
            let busy = TICK.saturating_sub(starved().saturating_sub(waited));
            alone = if now == last { alone + busy } else { alone.saturating_sub(TICK) };
            (last, waited) = (now, starved());
            if alone > ALONE_LIMIT {
                let what = format!("for {ALONE_LIMIT:?} it has let nothing else run");
                let look = "a loop that never awaits, or a pause that stops the thread: std::thread::sleep";
                let _ = writeln!(stdout(), "{}", Verdict::Broken { what, look }.shown());
                exit(1);
            }
            drop(ticks);
            let since = Instant::now();
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

/// Returns for how long the main thread, which runs the experiment, has waited for a processor so far.
/// Only Linux tells that.
fn starved() -> Duration {
    let told = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let waited = told.split(' ').nth(1).and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}
