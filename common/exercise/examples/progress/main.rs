//! Shows how far you have got with the exercises, and helps with them.
//!
//! ```text
//! cargo progress                    lists the exercises and the next one to do
//! cargo progress watch              tries an exercise whenever you save its yours.rs, until q
//! cargo progress hint counter       prints a hint, even if yours.rs does not compile
//! cargo progress solution counter   tries the solution
//! cargo progress reset counter      restores the original yours.rs, if you agree
//! ```

mod watch;

use std::env;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use common::{cannot_use, words};
use exercise::{COURSE, Exercise, colored, complain, is_plain, note, root, say, state, was_held};

const USAGE: &str = "cargo progress [watch | hint NAME | solution NAME | reset NAME]";
/// The first words that this program knows.
const COMMANDS: [&str; 4] = ["watch", "hint", "solution", "reset"];

fn main() -> Result<ExitCode> {
    let words = words(include_str!("main.rs"));
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => list()?,
        ["watch"] => watch::watch()?,
        ["hint", name] => say!("{}", find(name)?.hint)?,
        ["solution", name] => return try_solution(find(name)?),
        ["reset", name] => reset(find(name)?)?,
        // A word is missing, or there is one too many.
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
    let meant = did_you_mean(name, &COURSE.map(|exercise| exercise.name));
    let help = meant.unwrap_or("`cargo progress` lists all exercises".to_owned());
    Exercise::find(name).with_context(|| format!("cannot find an exercise called {name:?}; {help}"))
}

/// Asks whether the `known` word nearest to `word` was meant, if it is at most two letters away.
fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let far = |known: &&&str| distance(word, known);
    let nearest = known.iter().filter(|known| far(known) <= 2).min_by_key(far)?;
    Some(format!("did you mean {nearest}?"))
}

/// Returns how many letters must be added, removed or replaced to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    // The distances to the first letters of `to`: to none of them, to one, and so on.
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
        None => say!("all exercises are done")?,
    }
    Ok(())
}

/// Returns the first exercise that was never held.
fn next() -> Option<Exercise> {
    COURSE.into_iter().find(|exercise| !was_held(*exercise))
}

/// Builds and runs the program that tries answers. Returns its exit status.
fn try_solution(exercise: Exercise) -> Result<ExitCode> {
    ensure!(
        root().join(exercise.answer("solution.rs")).exists(),
        "cannot try the solution: this copy of the workspace has no solutions"
    );
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "-p", "answers", "--", exercise.name, "solution"]).current_dir(root());
    let code = cargo.status().context("cannot run cargo")?.code().unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(2)))
}

/// Restores the original file after a question, and keeps a copy of the student's work.
fn reset(exercise: Exercise) -> Result<()> {
    let (yours, mistake) = (exercise.yours(), root().join(exercise.answer("mistake.rs")));
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = read(&yours)?;
    if text == read(&mistake)? {
        say!("{}: this is still the original file", exercise.name)?;
        return Ok(());
    }
    let kept = note(exercise, ".yours.rs")?;
    say!("this discards your work on {}; type y to do it:", exercise.name)?;
    let mut reply = String::new();
    stdin().read_line(&mut reply)?; // stays empty without a terminal
    if reply.trim() != "y" {
        say!("nothing was changed")?;
        return Ok(());
    }
    fs::create_dir_all(kept.parent().context("no folder")?)
        .and_then(|()| fs::write(&kept, text))
        .with_context(|| format!("cannot write {}", kept.display()))?;
    fs::copy(mistake, &yours).with_context(|| format!("cannot write {}", yours.display()))?;
    say!("{}: the original file is back, and your work is in {}", exercise.name, kept.display())?;
    Ok(())
}
