//! The answers to the exercises: the right ones are *held*, the wrong ones *broken* with a message that fits.

use std::panic::resume_unwind;
use std::thread;

use answers::Answer;
use anyhow::{Result, ensure};
use testing::{Places, Program, as_handed_out, program};

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
    let (right, wrong): (Vec<Answer>, Vec<Answer>) = all.into_iter().partition(Answer::is_right);
    let (some, more) = if as_handed_out() { (right.len(), wrong.len()) } else { (2, 3) };
    let tried = right.iter().take(some).chain(wrong.iter().take(more));
    thread::scope(|scope| {
        let runs: Vec<_> =
            tried.map(|answer| scope.spawn(|| expect_verdict(exercise, answer))).collect();
        ensure!(!runs.is_empty(), "there are no answers to {exercise}");
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// A wrong answer may be too slow to do harm where many others run, and a right one may get no verdict. So they are
/// tried once more, alone. But no right answer may ever be *broken*.
fn expect_verdict(exercise: &str, answer: &Answer) -> Result<()> {
    let seen = run(exercise, answer, Places::one())?;
    let seen = match seen {
        Some(shown) if answer.is_right() && shown.contains("broken: ") => Some(shown),
        Some(_) => run(exercise, answer, Places::all())?,
        None => None,
    };
    ensure!(
        seen.is_none(),
        "{exercise} {}: {}\nexpected: {}",
        answer.name,
        seen.unwrap_or_default(),
        answer.verdict
    );
    Ok(())
}

/// Runs an answer. Returns what it has shown if that is not what was expected.
fn run(exercise: &str, answer: &Answer, _places: Places) -> Result<Option<String>> {
    let mut command = program("answers")?;
    command.args([exercise, answer.name]);
    let (lines, status) = Program::start(command)?.end()?;
    let code = if answer.is_right() { 0 } else { 1 };
    let hints = lines.iter().rev().take_while(|line| line.starts_with("look at ")).count();
    let last = lines.iter().nth_back(hints).map_or("", String::as_str);
    let same = match answer.verdict.split_once("[..]") {
        Some((start, end)) => last.starts_with(start) && last.ends_with(end),
        None => last == answer.verdict,
    };
    let is_right = same && status.code() == Some(code) && hints == usize::from(code == 1);
    Ok((!is_right).then(|| format!("{status}, {lines:#?}")))
}
