//! The answers to the exercises: the right ones are *held*, the wrong ones *broken* with a message that fits.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use answers::Answer;
use anyhow::{Result, ensure};
use testing::{Program, as_handed_out, program};

#[test]
fn counter() -> Result<()> {
    tells_right_from_wrong("counter")
}

#[test]
fn fencing() -> Result<()> {
    tells_right_from_wrong("fencing")
}

#[test]
fn heartbeat() -> Result<()> {
    tells_right_from_wrong("heartbeat")
}

#[test]
fn leader() -> Result<()> {
    tells_right_from_wrong("leader")
}

#[test]
fn pages() -> Result<()> {
    tells_right_from_wrong("pages")
}

#[test]
fn registry() -> Result<()> {
    tells_right_from_wrong("registry")
}

#[test]
fn reload() -> Result<()> {
    tells_right_from_wrong("reload")
}

#[test]
fn roster() -> Result<()> {
    tells_right_from_wrong("roster")
}

#[test]
fn tidy() -> Result<()> {
    tells_right_from_wrong("tidy")
}

/// Tries answers to an exercise. The last line of each run must be the verdict that the answer has, in which
/// `[..]` stands for anything, and the exit status must say the same. A hint follows a broken verdict, and no other.
///
/// All answers take minutes. So without the variable `EVERY_ANSWER`, only some are tried: the first two right
/// ones, and the first three wrong ones.
fn tells_right_from_wrong(exercise: &str) -> Result<()> {
    let mut all = answers::answers(exercise);
    all.retain(|answer| answer.name != "mistake"); // the page shows that one
    let (right, wrong): (Vec<Answer>, Vec<Answer>) =
        all.into_iter().partition(|answer| answer.verdict.starts_with("held"));
    let (some, more) = if as_handed_out() { (right.len(), wrong.len()) } else { (2, 3) };
    let tried = right.iter().take(some).chain(wrong.iter().take(more));
    thread::scope(|scope| {
        let runs: Vec<_> =
            tried.map(|answer| scope.spawn(|| expect_verdict(exercise, answer))).collect();
        ensure!(!runs.is_empty(), "there are no answers to {exercise}");
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn expect_verdict(exercise: &str, answer: &Answer) -> Result<()> {
    let expected = &*answer.verdict;
    let mut command = program("answers")?;
    command.args([exercise, answer.name]);
    let _place = Place::wait();
    let (mut lines, status) = Program::start(command)?.end()?;
    let code = if expected.starts_with("held: ") { 0 } else { 1 };
    let hint = lines.pop_if(|line| line.starts_with("look at "));
    let last = lines.last().map_or("", String::as_str);
    let same = match expected.split_once("[..]") {
        Some((start, end)) => last.starts_with(start) && last.ends_with(end),
        None => last == expected,
    };
    ensure!(
        same && status.code() == Some(code) && hint.is_some() == (code == 1),
        "{exercise} {}: {status}, {lines:#?}\nexpected: {expected}",
        answer.name
    );
    Ok(())
}

/// A place among the runs that go on at the same time. More of them would be late for what they stage.
struct Place;

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(8), Condvar::new());

impl Place {
    fn wait() -> Place {
        let (free, changed) = &FREE;
        let free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = changed.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (free, changed) = &FREE;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_one();
    }
}
