use std::fmt::{self, Display, Formatter};
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use common::REQUEST_TIMEOUT;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::machine::FairClock;
use crate::text::{colored, wrapped};

/// The result of an experiment.
#[derive(Debug)]
pub enum Verdict {
    /// The answer kept its promise. The text says what it did.
    Held(String),
    /// The answer broke its promise: what was seen, and a place to look at for the reason.
    Broken { what: String, hint: &'static str },
}

impl Verdict {
    /// Returns `held` or `broken`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Verdict::Held(_) => "held",
            Verdict::Broken { .. } => "broken",
        }
    }

    /// Returns the verdict as stdout shows it.
    pub(crate) fn shown(&self) -> String {
        colored(&wrapped(&self.to_string()), self.word())
    }

    /// Returns the exit status of a program with this verdict.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Verdict::Held(_) => ExitCode::SUCCESS,
            Verdict::Broken { .. } => ExitCode::from(1),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Verdict::Held(what) => write!(f, "held: {what}"),
            Verdict::Broken { what, hint } => write!(f, "broken: {what}\nlook at {hint}"),
        }
    }
}

impl std::error::Error for Verdict {}

/// Returns the verdict *held*. `what` says what the answer did.
pub fn held(what: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Held(what.into()))
}

/// Returns the verdict *broken* with a hint, which must not give away the solution. It is an `Err`,
/// so that `?` ends the experiment with it. `what` must be evidence that a slow machine can't
/// produce with a right answer.
pub fn broken<T>(what: impl Into<String>, hint: &'static str) -> Result<T> {
    Err(Verdict::Broken { what: what.into(), hint }.into())
}

/// Returns the verdict *broken* for an answer that was late, or that may have acted on a late
/// response. If the machine was slow a moment ago, the experiment ends without a verdict instead.
pub fn too_slow<T>(what: impl Into<String>, hint: &'static str) -> Result<T> {
    Err(TooSlow(Verdict::Broken { what: what.into(), hint }).into())
}

/// The verdict of [`too_slow`], until it is known whether the machine was slow.
#[derive(Debug)]
pub(crate) struct TooSlow(pub(crate) Verdict);

impl Display for TooSlow {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for TooSlow {}

/// Returns the verdict on an answer that returned an error: on a slow machine, that may be the
/// error of a request without a response.
pub fn returned_error<T>(error: Error) -> Result<T> {
    too_slow(
        format!("it returned an error: {error:#}"),
        "which line has returned this error, and whether to try again would help",
    )
}

/// Plays one round of an experiment. Plays it again if it was broken and took so long that a
/// request of the answer may have got no response in time. On a busy machine that happens, but not
/// three times in a row. `play` gets the number of the attempt.
pub async fn retry_if_slow<T>(play: impl AsyncFnMut(usize) -> Result<T>) -> Result<T> {
    retry(play, false).await
}

/// Plays one round of an experiment that counts the requests of an answer. Plays it again if it
/// took so long that the answer may have sent one of them again, even if it has held.
pub async fn retry_if_slow_or_counted<T>(play: impl AsyncFnMut(usize) -> Result<T>) -> Result<T> {
    retry(play, true).await
}

async fn retry<T>(mut play: impl AsyncFnMut(usize) -> Result<T>, even_if_held: bool) -> Result<T> {
    for attempt in 0..2 {
        let since = Instant::now();
        let played = play(attempt).await;
        let held = played.is_ok() && !even_if_held;
        if held || since.elapsed() < REQUEST_TIMEOUT / 2 {
            return played;
        }
    }
    play(2).await
}

/// Checks that an answer that must never return still runs. If it has ended, returns the verdict on
/// its error. If it has ended without an error, that is *broken*, with this text and hint.
pub async fn check_running(
    task: &mut JoinHandle<Result<()>>,
    what: &str,
    hint: &'static str,
) -> Result<()> {
    if task.is_finished() {
        task.await?.or_else(returned_error)?;
        return broken(what, hint);
    }
    Ok(())
}

/// Counts the stages of an experiment, and prints how many are passed.
pub struct Stages {
    passed: usize,
    all: usize,
}

impl Stages {
    /// Begins to count. `all` is the number of stages.
    pub fn of(all: usize) -> Stages {
        Stages { passed: 0, all }
    }

    /// Counts a stage as passed, and prints the count.
    pub fn pass(&mut self) -> Result<()> {
        self.passed += 1;
        writeln!(stdout(), "passed {} of {}", self.passed, self.all)?;
        Ok(())
    }
}

/// Measures how long something is wrong. It stops while the machine keeps the experiment waiting,
/// so a slow machine can't make the time longer.
#[derive(Default)]
pub struct Stopwatch {
    since: Option<FairClock>,
}

impl Stopwatch {
    /// Notes whether something is wrong now. Returns how long it was wrong, if that was too long:
    /// more than `tolerance` when it is over, or `limit` while it goes on.
    pub fn too_long(
        &mut self,
        wrong: bool,
        tolerance: Duration,
        limit: Duration,
    ) -> Option<Duration> {
        if wrong {
            let time = self.since.get_or_insert_with(FairClock::start).elapsed();
            return (time > limit).then_some(limit);
        }
        let time = self.since.take()?.elapsed();
        (time > tolerance).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// The first attempt is slow. Returns the attempt that counts.
    async fn slow_first(attempt: usize) -> Result<usize> {
        if attempt == 0 {
            sleep(REQUEST_TIMEOUT / 2).await;
        }
        Ok(attempt)
    }

    #[tokio::test]
    async fn a_slow_round_that_counts_requests_is_played_again() -> Result<()> {
        assert_eq!(retry_if_slow(slow_first).await?, 0);
        assert_eq!(retry_if_slow_or_counted(slow_first).await?, 1);
        Ok(())
    }
}
