use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Error, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What an experiment has found out.
#[derive(Debug)]
pub enum Verdict {
    /// What was required, and was found.
    Held(String),
    /// Which requirement was found broken, and where to look for the reason.
    Broken { what: String, look: &'static str },
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

/// The verdict that what was required is there.
pub fn held(what: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Held(what.into()))
}

/// The verdict that something is broken, and one hint, which is not the answer. It is an
/// `Err`, so that `?` ends the experiment with it.
pub fn broken<T>(what: impl Into<String>, look: &'static str) -> Result<T> {
    Err(Verdict::Broken { what: what.into(), look }.into())
}

/// The verdict on an answer that has ended with an error.
pub fn gave_up<T>(error: Error) -> Result<T> {
    broken(
        format!("it has given up: {error:#}"),
        "which line has returned this error, and whether to try again would help",
    )
}

/// Ends the experiment if an answer that has to run for ever has ended: with the verdict on
/// its error, or else with this one.
pub async fn check_running(
    task: &mut JoinHandle<Result<()>>,
    what: &str,
    look: &'static str,
) -> Result<()> {
    if task.is_finished() {
        task.await?.or_else(gave_up)?;
        return broken(what, look);
    }
    Ok(())
}

/// Measures for how long something is wrong.
#[derive(Default)]
pub struct Stopwatch {
    since: Option<Instant>,
}

impl Stopwatch {
    /// Notes whether it is wrong now. Returns for how long it was wrong, if that was too
    /// long: more than `tolerance` when it is over, or `limit` while it goes on.
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
