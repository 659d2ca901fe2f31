//! Shows how far you have got with the exercises.
//!
//! ```text
//! cargo progress                    the exercises, and the next one to do
//! cargo progress watch              tries an exercise whenever you save its yours.rs, until Ctrl-C
//! cargo progress reset counter      brings its yours.rs back as it was handed out
//! ```

use std::env;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use exercise::{Work, all_work, root};

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => list(),
        ["watch"] => watch(),
        ["reset", name] => {
            let known = all_work().into_iter().find(|work| work.name == *name);
            reset(known.with_context(|| format!("there is no exercise called {name:?}"))?)
        }
        ["--help"] => {
            let help =
                include_str!("progress.rs").lines().map_while(|line| line.strip_prefix("//!"));
            let help = help.map(str::trim).filter(|line| !line.starts_with("```"));
            Ok(writeln!(stdout(), "{}", help.collect::<Vec<_>>().join("\n"))?)
        }
        words => {
            eprintln!("Error: cannot use {words:?}; usage: cargo progress [watch | reset NAME]");
            exit(2)
        }
    }
}

fn list() -> Result<()> {
    let mut next = None;
    for work in all_work() {
        let verdict = work.verdict();
        let shown = match &verdict {
            None => "not tried",
            Some((verdict, true)) => verdict,
            Some((verdict, false)) => &format!("{verdict}, and changed since"),
        };
        writeln!(stdout(), "{:<10}{:<11}{shown}", work.chapter, work.name)?;
        if verdict.is_none_or(|(verdict, same)| verdict != "held" || !same) {
            next = next.or(Some(work));
        }
    }
    match next {
        Some(work) => writeln!(stdout(), "next: {}", work.command())?,
        None => writeln!(stdout(), "all of them are done")?,
    }
    Ok(())
}

/// Tries each exercise whose file has been saved, without end.
fn watch() -> Result<()> {
    let saved = |work: Work| fs::metadata(work.file("yours.rs")).and_then(|file| file.modified());
    let mut before = all_work().map(|work| saved(work).unwrap_or(SystemTime::UNIX_EPOCH));
    writeln!(stdout(), "waiting until you save a yours.rs; Ctrl-C ends this")?;
    loop {
        sleep(Duration::from_millis(250));
        for (work, before) in all_work().into_iter().zip(&mut before) {
            // While an editor replaces the file, there may be none.
            let Ok(now) = saved(work) else { continue };
            if now != *before {
                *before = now;
                writeln!(stdout(), "\n$ {}", work.command())?;
                let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
                command
                    .args(work.command().split(' ').skip(1))
                    .status()
                    .context("cannot run cargo")?;
                writeln!(stdout(), "waiting until you save a yours.rs; Ctrl-C ends this")?;
            }
        }
    }
}

/// Asks, and then throws away what is in the file.
fn reset(work: Work) -> Result<()> {
    let (yours, mistake) = (work.file("yours.rs"), root().join(work.answer("mistake.rs")));
    let text = fs::read_to_string(&yours)?;
    if text == fs::read_to_string(&mistake)? {
        writeln!(stdout(), "{} is as it was handed out", work.name)?;
        return Ok(());
    }
    let kept = work.note(".yours.rs")?;
    writeln!(stdout(), "this throws away your work on {}. Type y to do it:", work.name)?;
    let mut said = String::new();
    stdin().read_line(&mut said)?; // nothing where there is no terminal
    if said.trim() != "y" {
        writeln!(stdout(), "nothing is changed")?;
        return Ok(());
    }
    fs::create_dir_all(kept.parent().context("no folder")?)?;
    fs::write(&kept, text)?;
    fs::copy(mistake, yours)?;
    writeln!(
        stdout(),
        "{} is as it was handed out; your work is in {}",
        work.name,
        kept.display()
    )?;
    Ok(())
}
