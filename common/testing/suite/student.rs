//! The programs that a student uses besides the exercises. No test changes a file that students
//! edit.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use etcd_server::{Server, freeze};
use exercise::{COURSE, Exercise};
use tempfile::TempDir;
use testing::{Program, program, program_at, program_with};

/// A copy of the exercises' files that a test can change, with the program `progress` in a target
/// folder of its own.
struct Copy(TempDir);

impl Copy {
    fn new() -> Result<Copy> {
        let copy = Copy(tempfile::tempdir()?);
        for folder in ["common/exercise", "target/debug/examples", "target/progress"] {
            fs::create_dir_all(copy.path(folder))?;
        }
        fs::write(copy.path("target/CACHEDIR.TAG"), "")?;
        let built = program("examples/progress")?;
        // Another process copies it: a child of another test may inherit a file that this process
        // writes, and a file that is open for writing can't be run.
        let mut cp = testing::command("cp");
        cp.arg(built.get_program()).arg(copy.path("target/debug/examples/progress"));
        ensure!(cp.status()?.success(), "cannot copy progress");
        for exercise in COURSE {
            let mistake = fs::read(testing::root().join(exercise.answer("mistake.rs")))?;
            for file in [copy.path(&exercise.answer("mistake.rs")), copy.yours(exercise)?] {
                fs::create_dir_all(file.parent().context("no folder")?)?;
                fs::write(file, &mistake)?;
            }
        }
        Ok(copy)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn yours(&self, exercise: Exercise) -> Result<PathBuf> {
        Ok(self.0.path().join(exercise.yours().strip_prefix(testing::root())?))
    }

    /// Notes a verdict, as a run of a `yours.rs` with this text does.
    fn note(&self, name: &str, verdict: &str, text: &str) -> Result<()> {
        let note = self.path(&format!("target/progress/{name}"));
        Ok(fs::write(note, format!("{verdict}\n{text}"))?)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = testing::command(self.path("target/debug/examples/progress"));
        command.env("CARGO_MANIFEST_DIR", self.path("common/exercise")).args(words);
        command
    }

    fn progress(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).stdin(Stdio::null()).output()?;
        Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
    }
}

/// Returns the line of the list about an exercise, without its chapter and name.
fn line_about(list: &str, name: &str) -> Option<String> {
    let line = list.lines().find(|line| line.split_whitespace().nth(1) == Some(name))?;
    Some(line.split_once(name)?.1.trim().to_owned())
}

#[test]
fn an_exercise_that_was_held_stays_held() -> Result<()> {
    let copy = Copy::new()?;
    let list = copy.progress(&[])?;
    ensure!(list.ends_with("\n0 of 9  .........\nnext: cargo run -p put-get --example counter\n"));
    ensure!(line_about(&list, "tidy").as_deref() == Some("not tried"), "{list}");

    // A verdict on the first exercise, and each state that its file can have after that.
    let counter = Exercise::find("counter").context("no counter")?;
    let mistake = fs::read_to_string(copy.yours(counter)?)?;
    let next = "\n1 of 9  #........\nnext: cargo run -p put-get --example pages\n";
    fs::write(copy.path("target/progress/counter.held.rs"), "right")?;
    for (verdict, tried, now, shown) in [
        ("held", "right", "right", "held"),
        ("held", "right", "later", "held, then changed: not tried"),
        ("broken", "wrong", "wrong", "held, then changed: broken"),
        ("broken", "wrong", "right", "held, then changed: not tried"),
        ("broken", "wrong", &mistake, "held, then the original file again"),
    ] {
        copy.note("counter", verdict, tried)?;
        fs::write(copy.yours(counter)?, now)?;
        let list = copy.progress(&[])?;
        ensure!(line_about(&list, "counter").as_deref() == Some(shown), "{shown}: {list}");
        ensure!(list.ends_with(next), "{list}");
    }
    Ok(())
}

#[test]
fn a_run_of_the_original_file_counts_as_tried() -> Result<()> {
    let copy = Copy::new()?;
    let tidy = Exercise::find("tidy").context("no tidy")?;
    copy.note("tidy", "broken", &fs::read_to_string(copy.yours(tidy)?)?)?;
    let list = copy.progress(&[])?;
    ensure!(line_about(&list, "tidy").as_deref() == Some("broken (the original file)"), "{list}");
    Ok(())
}

#[test]
fn a_misspelled_word_gets_the_nearest_one() -> Result<()> {
    let copy = Copy::new()?;
    for (words, expected) in [
        (&["wach"][..], "Error: cannot use \"wach\"; did you mean watch? usage: cargo progress ["),
        (&["hnit", "tidy"], "Error: cannot use \"hnit\"; did you mean hint? usage: "),
        (&["now"], "Error: cannot use \"now\"; usage: "),
        (&["hint"], "Error: cannot use \"hint\"; usage: "),
        (
            &["hint", "now"],
            "Error: cannot find an exercise called \"now\"; `cargo progress` lists ",
        ),
        (
            &["hint", "cuonter"],
            "Error: cannot find an exercise called \"cuonter\"; did you mean counter?\n",
        ),
    ] {
        let shown = copy.progress(words)?;
        ensure!(shown.starts_with(expected), "{words:?}: {shown}");
    }
    Ok(())
}

fn progress(words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = program_with("", "examples/progress")?;
    let output = command.args(words).stdin(Stdio::null()).output()?;
    Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

/// A cargo that prints its arguments, and starts a program that runs for longer than any test.
const CARGO: &str = "#!/bin/sh\necho \"cargo $*\"\nsleep 600 &\nwait\n";

fn watch(copy: &Copy) -> Result<Command> {
    let cargo = copy.path("cargo");
    // Another process writes it, as in `Copy::new`.
    let write = r#"printf '%s' "$1" >"$0" && chmod 700 "$0""#;
    let status = testing::command("sh").args(["-c", write]).arg(&cargo).arg(CARGO).status()?;
    ensure!(status.success(), "cannot write {}", cargo.display());
    let mut watch = copy.command(&["watch"]);
    watch.env("CARGO", cargo);
    Ok(watch)
}

#[test]
fn a_save_ends_the_run_and_starts_the_next() -> Result<()> {
    const RUN: [&str; 3] =
        ["", "$ cargo run -p delete --example tidy", "cargo run -p delete --example tidy"];
    let copy = Copy::new()?;
    let yours = copy.yours(Exercise::find("tidy").context("no tidy")?)?;
    let watch = Program::start(watch(&copy)?)?;
    watch.expect(
        "counter: waiting for a save of put-get/examples/counter/yours.rs; \
         type h(int), r(erun), n(ext) or q(uit), and Enter",
    )?;
    fs::write(&yours, "first")?;
    RUN.iter().try_for_each(|line| watch.expect(line))?;
    fs::write(&yours, "second")?;
    let saved = "tidy was saved: this run ends, and the next one starts";
    watch.expect(saved)?;
    RUN.iter().try_for_each(|line| watch.expect(line))?;

    // First only the time changes, then only the text.
    let time = SystemTime::now() + Duration::from_secs(9);
    File::options().append(true).open(&yours)?.set_modified(time)?;
    sleep(Duration::from_secs(1));
    fs::write(copy.path("third"), "third")?;
    File::options().append(true).open(copy.path("third"))?.set_modified(time)?;
    fs::rename(copy.path("third"), &yours)?;
    watch.expect(saved)?;
    RUN.iter().try_for_each(|line| watch.expect(line))?;

    watch.interrupt()?;
    // `end` returns only after the last process has closed its stdout.
    let (lines, status) = watch.end()?;
    ensure!(status.success() && lines.is_empty(), "{status}: {lines:#?}");
    Ok(())
}

#[test]
fn watch_has_keys_for_hint_rerun_next_and_quit() -> Result<()> {
    let copy = Copy::new()?;
    let watch = watch(&copy)?;
    let mut typing = testing::command("sh");
    typing.args(["-c", "exec \"$0\" watch <<.\nh\nr\nn\nx\nq\n."]).arg(watch.get_program());
    typing.envs(watch.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (lines, status) = Program::start(typing)?.end()?;
    let shown = lines.join("\n") + "\n";
    ensure!(status.success(), "{status}: {shown}");
    let counter = Exercise::find("counter").context("no counter")?;
    let mut rest = &*shown;
    for line in [
        &format!("\n{}\n", counter.hint),
        "\n$ cargo run -p put-get --example counter\n",
        "\n$ cargo run -p put-get --example pages\n",
        "pages: running; type h(int), r(erun), n(ext) or q(uit), and Enter\n",
    ] {
        rest = rest.split_once(line).with_context(|| format!("no {line}: {shown}"))?.1;
    }
    Ok(())
}

#[test]
fn a_run_notes_its_verdict_and_file() -> Result<()> {
    let server = Server::start()?;
    let tidy = Exercise::find("tidy").context("no tidy")?;
    let mut run = program_at(&server, "examples/tidy")?;
    let shown = String::from_utf8(run.output()?.stdout)?;
    let verdict = if shown.contains("\nheld: ") { "held" } else { "broken" };
    let target = etcd_server::target_folder().context("no target folder")?;
    let note = fs::read_to_string(target.join("progress/tidy"))?;
    let yours = fs::read_to_string(tidy.yours())?;
    ensure!(note == format!("{verdict}\n{yours}"), "{note}");
    if verdict == "held" {
        ensure!(fs::read_to_string(target.join("progress/tidy.held.rs"))? == yours);
    }
    Ok(())
}

#[test]
fn progress_lists_all_and_discards_nothing_unasked() -> Result<()> {
    let (status, shown) = progress(&[])?;
    let lines: Vec<&str> = shown.lines().collect();
    ensure!(status == Some(0) && lines.len() == COURSE.len() + 2, "{shown}");
    for (line, Exercise { chapter, name, .. }) in lines.iter().zip(COURSE) {
        ensure!(line.split_whitespace().take(2).eq([chapter, name]), "{shown}");
    }
    let last = lines.last().copied().unwrap_or_default();
    ensure!(last.starts_with("next: cargo run -p ") || last == "all exercises are done", "{shown}");

    for exercise in COURSE {
        let before = fs::read_to_string(exercise.yours())?;
        let (status, shown) = progress(&["reset", exercise.name])?;
        ensure!(status == Some(0), "{shown}");
        ensure!(fs::read_to_string(exercise.yours())? == before, "{shown}");
    }
    let (status, shown) = progress(&["reset", "none"])?;
    let error = "Error: cannot find an exercise called \"none\"";
    ensure!(status == Some(1) && shown.starts_with(error), "{shown}");
    let (status, shown) = progress(&["now"])?;
    ensure!(status == Some(2) && shown.contains("; usage: cargo progress"), "{shown}");
    Ok(())
}

#[test]
fn a_frozen_machine_gives_no_verdict() -> Result<()> {
    let mut run = program("answers")?;
    run.args(["roster", "mistake"]);
    let run = Program::start(run)?;
    run.expect("david comes and carla goes while etcd's first response is on its way")?;
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
        // Everything is built already, but `cargo build` would build it again.
        let output = program_with(endpoint, "examples/ready")?.env("CARGO", "true").output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let (status, shown) = ready(&server.endpoint())?;
    ensure!(status == Some(0) && shown.ends_with("\nready\n"), "{shown}");
    let (status, shown) = ready("127.0.0.1:1")?;
    let missing =
        "\nmissing  cannot reach etcd at 127.0.0.1:1: connection refused; check ETCDCTL_ENDPOINTS";
    ensure!(status == Some(1) && shown.contains(missing), "{shown}");
    ensure!(shown.ends_with("\nnot ready\n"), "{shown}");
    Ok(())
}
