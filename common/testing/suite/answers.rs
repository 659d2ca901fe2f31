//! The answers to the exercises: right ones are *held*, wrong ones *broken* with a message that
//! fits.

use std::fs;
use std::panic::resume_unwind;
use std::thread::{self, sleep};
use std::time::Duration;

use answers::{Answer, EXERCISES};
use anyhow::{Context, Result, ensure};
use etcd_server::freeze;
use exercise::{COURSE, Exercise};
use testing::{Places, Program, program, root, yours_are_original};

/// Makes a test of each exercise, so that the exercises run at the same time.
macro_rules! exercises {
    ($($name:ident)+) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() -> Result<()> {
                every_answer_gets_its_verdict(stringify!($name))
            }
        )+
    };
}

exercises! { counter pages reload tidy registry heartbeat fencing leader roster }

#[test]
fn no_right_answer_is_broken_by_standstills() -> Result<()> {
    let mut run = program("answers")?;
    run.args(["leader", "solution"]);
    let run = Program::start(run)?;
    for _ in 0..30 {
        // Longer than a leader may be late, and shorter than what excuses anything.
        let frozen = freeze(run.id())?;
        sleep(Duration::from_millis(350));
        drop(frozen);
        sleep(Duration::from_millis(150));
    }
    let (lines, status) = run.end()?;
    ensure!(!lines.iter().any(|line| line.starts_with("broken: ")), "{status}: {lines:#?}");
    Ok(())
}

#[test]
fn no_exercise_is_forgotten() -> Result<()> {
    let course = COURSE.map(|exercise| exercise.name);
    ensure!(EXERCISES.map(|(name, _)| name) == course, "EXERCISES differs from COURSE");
    ensure!(TESTED == course, "TESTED differs from COURSE");
    let first_page = fs::read_to_string(root().join("README.md"))?;
    let teaching = fs::read_to_string(root().join("TEACHING.md"))?;
    for exercise in COURSE {
        let Exercise { chapter, name, .. } = exercise;
        let link = format!("README.md#{name})");
        ensure!(first_page.contains(&link), "{name} is not on the first page");
        ensure!(teaching.contains(&format!("\n#### {name}\n")), "TEACHING.md has no block {name}");
        let page = fs::read_to_string(exercise.yours().with_file_name("../../README.md"))?;
        let run = format!("\n$ {}\n", exercise.command());
        ensure!(page.contains(&run), "the page of {chapter} does not show {name}");

        let listed = answers::answers(name).unwrap_or_default();
        ensure!(listed.first().is_some_and(|answer| answer.name == "solution"), "{name}");
        let mut written = Vec::new();
        for file in fs::read_dir(root().join(exercise.answer("")))? {
            let path = file?.path();
            written.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        let edits = fs::read_to_string(root().join(exercise.answer("edits.rs")))?;
        let edits = edits.lines().filter_map(|line| line.trim().split_once(": {"));
        written.extend(edits.map(|(name, _)| name.to_owned()));
        let is_answer = |name: &str| {
            name.chars().all(|c| c == '_' || c.is_lowercase()) && name != "mod" && name != "edits"
        };
        written.retain(|name| is_answer(name));
        let mut listed: Vec<_> = listed.iter().map(|answer| answer.name).collect();
        written.sort();
        listed.sort();
        ensure!(written == listed, "{name}: {written:#?} are written, {listed:#?} in its list");
    }
    Ok(())
}

#[test]
fn teaching_names_answers_that_exist() -> Result<()> {
    let page = fs::read_to_string(root().join("TEACHING.md"))?;
    for code in page.split('`').skip(1).step_by(2) {
        let words: Vec<&str> = code.split_whitespace().collect();
        let [exercise, name] = words[..] else { continue };
        if let Some(answers) = answers::answers(exercise) {
            ensure!(answers.iter().any(|answer| answer.name == name), "there is no {code}");
        }
    }
    Ok(())
}

/// Tries answers to an exercise. The last line of each run must be the verdict in the answer's
/// list, where `[..]` stands for any text. The exit status must match the verdict, and a hint must
/// follow *broken*, but no other verdict.
///
/// All answers together take minutes. So without the variable `EVERY_ANSWER`, only the first two
/// right answers and the first three wrong ones run.
fn every_answer_gets_its_verdict(exercise: &str) -> Result<()> {
    let mut all = answers::answers(exercise).context("it has no answers")?;
    all.retain(|answer| answer.name != "mistake"); // the test of the page tries it
    let (right, wrong): (Vec<Answer>, Vec<Answer>) = all.into_iter().partition(Answer::is_right);
    let (some, more) = if yours_are_original() { (right.len(), wrong.len()) } else { (2, 3) };
    let tried = right.iter().take(some).chain(wrong.iter().take(more));
    thread::scope(|scope| {
        let runs: Vec<_> =
            tried.map(|answer| scope.spawn(|| expect_verdict(exercise, answer))).collect();
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// How often an answer is tried alone, at most, until it gets a verdict.
const ALONE: usize = 3;

/// Where many answers run at the same time, a wrong one may be too slow to do harm, and any of them
/// may get no verdict. So an answer is tried again alone. There only *no verdict* is excused, and
/// not more than twice. No right answer may be *broken* anywhere.
fn expect_verdict(exercise: &str, answer: &Answer) -> Result<()> {
    let mut seen = run(exercise, answer, Places::one())?;
    for _ in 0..ALONE {
        match &seen {
            None => return Ok(()),
            Some(shown) if answer.is_right() && shown.contains("broken: ") => break,
            Some(_) => seen = run(exercise, answer, Places::all())?,
        }
        if seen.as_ref().is_some_and(|shown| !shown.contains("no verdict: ")) {
            break;
        }
    }
    ensure!(
        seen.is_none(),
        "{exercise} {}: {}\nexpected: {}",
        answer.name,
        seen.unwrap_or_default(),
        answer.verdict
    );
    Ok(())
}

/// Runs an answer. Returns its output if that isn't what was expected.
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
