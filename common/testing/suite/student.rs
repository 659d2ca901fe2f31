//! What a student sees of the own progress. No test changes a file that students edit.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_server::{Server, freeze};
use exercise::{COURSE, Exercise};
use testing::{Program, program, program_at, program_with};

fn progress(words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = program_with("", "examples/progress")?;
    let output = command.args(words).stdin(Stdio::null()).output()?;
    Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

#[test]
fn the_last_verdict_is_noted_with_what_was_tried() -> Result<()> {
    let server = Server::start()?;
    let tidy = Exercise::find("tidy").context("no tidy")?;
    let mut run = program_at(&server, "examples/tidy")?;
    let shown = String::from_utf8(run.output()?.stdout)?;
    let verdict = if shown.contains("\nheld: ") { "held" } else { "broken" };
    let target = etcd_server::target_folder().context("no target folder")?;
    let note = fs::read_to_string(target.join("progress/tidy"))?;
    let yours = fs::read_to_string(tidy.yours())?;
    ensure!(note == format!("{verdict}\n{yours}"), "{note}");
    Ok(())
}

#[test]
fn progress_lists_all_exercises_and_throws_nothing_away_unasked() -> Result<()> {
    let (status, shown) = progress(&[])?;
    let lines: Vec<&str> = shown.lines().collect();
    ensure!(status == Some(0) && lines.len() == COURSE.len() + 1, "{shown}");
    for (line, Exercise { chapter, name, .. }) in lines.iter().zip(COURSE) {
        ensure!(line.split_whitespace().take(2).eq([chapter, name]), "{shown}");
    }
    let last = lines.last().copied().unwrap_or_default();
    ensure!(last.starts_with("next: cargo run -p ") || last == "all of them are done", "{shown}");

    for exercise in COURSE {
        let before = fs::read_to_string(exercise.yours())?;
        let (status, shown) = progress(&["reset", exercise.name])?;
        ensure!(status == Some(0), "{shown}");
        ensure!(fs::read_to_string(exercise.yours())? == before, "{shown}");
    }
    let (status, shown) = progress(&["reset", "none"])?;
    ensure!(status == Some(1) && shown.contains("there is no exercise called \"none\""), "{shown}");
    let (status, shown) = progress(&["now"])?;
    ensure!(status == Some(2) && shown.contains("; usage: cargo progress"), "{shown}");
    Ok(())
}

#[test]
fn nothing_is_broken_on_a_machine_that_stood_still() -> Result<()> {
    let mut run = program("answers")?;
    run.args(["roster", "mistake"]);
    let run = Program::start(run)?;
    run.expect("david comes, carla goes, when etcd has responded to the first request")?;
    let frozen = freeze(run.id())?;
    sleep(Duration::from_millis(700));
    drop(frozen);
    let (lines, status) = run.end()?;
    let last = lines.last().context("no verdict")?;
    ensure!(last.starts_with("no verdict: this machine stood still for "), "{lines:#?}");
    ensure!(status.code() == Some(2), "{status}");
    Ok(())
}

#[test]
fn a_machine_is_ready_or_something_is_missing() -> Result<()> {
    let server = Server::start()?;
    let ready = |endpoint: &str| -> Result<_> {
        // All is built already; it would be built once more, as `cargo build` does it.
        let output = program_with(endpoint, "examples/ready")?.env("CARGO", "true").output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let (status, shown) = ready(&server.endpoint())?;
    ensure!(status == Some(0) && shown.ends_with("\nready\n"), "{shown}");
    let (status, shown) = ready("127.0.0.1:1")?;
    let missing = "\nmissing  cannot reach etcd at 127.0.0.1:1: connection refused ";
    ensure!(status == Some(1) && shown.contains(missing), "{shown}");
    ensure!(shown.ends_with("\nnot ready\n"), "{shown}");
    Ok(())
}
