use std::fmt::{self, Display, Formatter};
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use common::REQUEST_TIMEOUT;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::text::{colored, wrapped};

/// The result of an experiment.
#[derive(Debug)]
pub enum Verdict {
    /// What was required is so.
    Held(String),
    /// Something required is not so. `look` is a hint: where to look for the reason.
    Broken { what: String, look: &'static str },
}

impl Verdict {
    /// Returns `held` or `broken`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Verdict::Held(_) => "held",
            Verdict::Broken { .. } => "broken",
        }
    }

    /// Returns the verdict as it is shown on stdout.
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
            Verdict::Broken { what, look } => write!(f, "broken: {what}\nlook at {look}"),
        }
    }
}

impl std::error::Error for Verdict {}

/// Returns the verdict *held*. `what` says what is so.
pub fn held(what: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Held(what.into()))
}

/// Returns the verdict *broken* with a hint, which must not be the solution. It is an `Err`, so that `?`
/// ends the experiment with it.
pub fn broken<T>(what: impl Into<String>, look: &'static str) -> Result<T> {
    Err(Verdict::Broken { what: what.into(), look }.into())
}

/// Returns the verdict *broken* because something took too long. On a machine that was too slow itself
/// it becomes no verdict.
pub fn too_slow<T>(what: impl Into<String>, look: &'static str) -> Result<T> {
    broken(what, look)
}

/// Returns the verdict on an answer that has ended with an error.
pub fn returned_error<T>(error: Error) -> Result<T> {
    broken(
        format!("it has given up: {error:#}"),
        "which line has returned this error, and whether to try again would help",
    )
}

/// Plays one round of an experiment, again if it was broken and took so long that a request of the answer
/// may have got no response in time: on a busy machine this may happen, but not again and again. The round
/// gets the number of the attempt.
pub async fn retry_if_slow<T>(play: impl AsyncFnMut(usize) -> Result<T>) -> Result<T> {
    retry(play, false).await
}

/// The same for a round that counts the requests of an answer, which may have sent one of them again: it
/// is also played again if it has held.
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

/// Checks that an answer that has to run for ever still runs. If it has ended, returns the verdict on its
/// error, or else the verdict that the caller names.
pub async fn check_running(
    task: &mut JoinHandle<Result<()>>,
    what: &str,
    look: &'static str,
) -> Result<()> {
    if task.is_finished() {
        task.await?.or_else(returned_error)?;
        return broken(what, look);
    }
    Ok(())
}

/// Counts the stages of an experiment, and says how many are passed.
pub struct Stages {
    passed: usize,
    all: usize,
}

impl Stages {
    /// Returns that none of so many is passed.
    pub fn of(all: usize) -> Stages {
        Stages { passed: 0, all }
    }

    /// Prints that one more is passed.
    pub fn pass(&mut self) -> Result<()> {
        self.passed += 1;
        writeln!(stdout(), "passed {} of {}", self.passed, self.all)?;
        Ok(())
    }
}

/// Measures for how long something is wrong.
#[derive(Default)]
pub struct Stopwatch {
    since: Option<Instant>,
}

impl Stopwatch {
    /// Notes whether something is wrong now. Returns for how long it was wrong, if that was too long:
    /// more than `tolerance` when it is over, or `limit` while it goes on.
    pub fn too_long(
        &mut self,
        wrong: bool,
        tolerance: Duration,
        limit: Duration,
    ) -> Option<Duration> {
        if wrong {
            let since = *self.since.get_or_insert(Instant::now());
            return (since.elapsed() > limit).then_some(limit);
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
