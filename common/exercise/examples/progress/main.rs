//! Shows how far you have got with the exercises, and helps with them.
//!
//! ```text
//! cargo progress                    the exercises, and the next one to do
//! cargo progress watch              tries an exercise whenever you save its yours.rs, until q
//! cargo progress hint counter       a hint, even while its yours.rs does not compile
//! cargo progress solution counter   tries the solution
//! cargo progress reset counter      brings its yours.rs back as it was handed out
//! ```

mod watch;

use std::env;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use common::{cannot_use, words};
use exercise::{COURSE, Exercise, colored, complain, is_plain, note, root, say, state, was_held};

const USAGE: &str = "cargo progress [watch | hint NAME | solution NAME | reset NAME]";
/// What this program can do, beside the list.
const COMMANDS: [&str; 4] = ["watch", "hint", "solution", "reset"];

fn main() -> Result<ExitCode> {
    let words = words(include_str!("main.rs"));
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => list()?,
        ["watch"] => watch::watch()?,
        ["hint", name] => say!("{}", find(name)?.hint)?,
        ["solution", name] => return try_solution(find(name)?),
        ["reset", name] => reset(find(name)?)?,
        // A word is missing, or one too many.
        words @ [word, ..] if COMMANDS.contains(word) => cannot_use(&words.join(" "), USAGE),
        [word, ..] => {
            let meant = did_you_mean(word, &COMMANDS).map_or(String::new(), |meant| meant + " ");
            complain(&format!("Error: cannot use {word:?}; {meant}usage: {USAGE}"));
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<Exercise> {
    Exercise::find(name).with_context(|| {
        let meant = did_you_mean(name, &COURSE.map(|exercise| exercise.name));
        let meant = meant.map_or(String::new(), |meant| format!("; {meant}"));
        format!("there is no exercise called {name:?}{meant}")
    })
}

/// Asks whether the nearest of these words was meant, if one is at most two letters away.
fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let far = |known: &&&str| distance(word, known);
    let nearest = known.iter().filter(|known| far(known) <= 2).min_by_key(far)?;
    Some(format!("did you mean {nearest}?"))
}

/// Returns how many letters of a word must be added, removed or replaced to get another word.
fn distance(from: &str, to: &str) -> usize {
    // To the first letters of `to`: none of them, one, and so on.
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for letter in from.chars() {
        let mut diagonal = row[0];
        row[0] += 1;
        for (at, other) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

fn list() -> Result<()> {
    for exercise in COURSE {
        let Exercise { chapter, name, .. } = exercise;
        let state = colored(&colored(state(exercise), "held"), "broken");
        writeln!(stdout(), "{chapter:<10}{name:<11}{state}")?;
    }
    let held = COURSE.into_iter().filter(|exercise| was_held(*exercise)).count();
    let (done, open) = if is_plain() { ("#", ".") } else { ("█", "░") };
    let bar = done.repeat(held) + &open.repeat(COURSE.len() - held);
    say!("{held} of {}  {bar}", COURSE.len())?;
    match next() {
        Some(exercise) => say!("next: {}", exercise.command())?,
        None => say!("all of them are done")?,
    }
    Ok(())
}

/// Returns the first exercise that was never held.
fn next() -> Option<Exercise> {
    COURSE.into_iter().find(|exercise| !was_held(*exercise))
}

/// Builds and runs the program that has the answers. Returns its exit status.
fn try_solution(exercise: Exercise) -> Result<ExitCode> {
    ensure!(root().join(exercise.answer("solution.rs")).exists(), "this copy has no solutions");
    let code = cargo(&format!("cargo run -p answers -- {} solution", exercise.name))?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(2)))
}

/// Types a command with cargo. Returns its exit status.
fn cargo(command: &str) -> Result<i32> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let status = cargo.args(command.split(' ').skip(1)).current_dir(root()).status();
    Ok(status.context("cannot run cargo")?.code().unwrap_or(1))
}

/// Asks, and then throws away what is in the file.
fn reset(exercise: Exercise) -> Result<()> {
    let (yours, mistake) = (exercise.yours(), root().join(exercise.answer("mistake.rs")));
    let text = fs::read_to_string(&yours)?;
    if text == fs::read_to_string(&mistake)? {
        say!("{} is as it was handed out", exercise.name)?;
        return Ok(());
    }
    let kept = note(exercise, ".yours.rs")?;
    say!("this throws away your work on {}. Type y to do it:", exercise.name)?;
    let mut said = String::new();
    stdin().read_line(&mut said)?; // nothing where there is no terminal
    if said.trim() != "y" {
        say!("nothing is changed")?;
        return Ok(());
    }
    fs::create_dir_all(kept.parent().context("no folder")?)?;
    fs::write(&kept, text)?;
    fs::copy(mistake, yours)?;
    say!("{} is as it was handed out; your work is in {}", exercise.name, kept.display())?;
    Ok(())
}
