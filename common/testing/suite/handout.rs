//! The copy for students.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use exercise::{COURSE, Exercise};
use testing::{check_links, program, root};

fn handout(folder: &Path) -> Result<Output> {
    Ok(program("examples/handout")?.arg(folder).output()?)
}

#[test]
fn a_handout_has_no_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let output = handout(&copy)?;
    ensure!(output.status.success(), "{}", String::from_utf8(output.stderr)?);

    let files = files(&copy)?;
    for exercise in COURSE {
        let answer = |name: &str| fs::read_to_string(root().join(exercise.answer(name)));
        let (solution, mistake) = (answer("solution.rs")?, answer("mistake.rs")?);
        let yours = copy.join(exercise.yours().strip_prefix(root())?);
        ensure!(fs::read_to_string(yours)? == mistake, "{}", exercise.name);
        // The longest line that is only in the solution.
        let own = solution.lines().filter(|line| !mistake.contains(line));
        let line = own.max_by_key(|line| line.len()).unwrap_or_default();
        for path in &files {
            let tells = fs::read_to_string(path).is_ok_and(|text| text.contains(line));
            ensure!(!tells, "{}: {line}", path.display());
        }
    }
    check_links(&copy)?;
    // Cargo finds everything that the copy needs. Building the copy would take minutes.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let cargo = cargo.args(["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    let output = cargo.current_dir(&copy).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8(output.stderr)?);

    // A program that was built for this folder uses the copy's files if cargo runs it in the copy.
    fs::write(copy.join("delete/examples/tidy/yours.rs"), "changed")?;
    let mut progress = program("examples/progress")?;
    progress.args(["reset", "tidy"]).env("CARGO_MANIFEST_DIR", copy.join("common/exercise"));
    let shown = String::from_utf8(progress.stdin(Stdio::null()).output()?.stdout)?;
    ensure!(shown.starts_with("this discards your work on tidy;"), "{shown}");
    fs::remove_file(copy.join("delete/examples/tidy/yours.rs"))?;
    let shown = String::from_utf8(progress.output()?.stderr)?;
    ensure!(shown.starts_with("Error: cannot read ") && shown.contains("yours.rs"), "{shown}");
    Ok(())
}

#[test]
fn a_handout_overwrites_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("kept");
    fs::write(&kept, "mine")?;
    for there in ["", "x/..", "..", "/", "kept", "kept/below", "none/below"] {
        let mut handout = program("examples/handout")?;
        let output = handout.arg(there).current_dir(folder.path()).output()?;
        let error = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{there}: {}", output.status);
        ensure!(
            error.starts_with("Error: cannot create ") && error.lines().count() == 1,
            "{error}"
        );
    }
    ensure!(fs::read_dir(folder.path())?.count() == 1 && fs::read_to_string(kept)? == "mine");
    let tidy = Exercise::find("tidy").map(Exercise::yours).unwrap_or_default();
    ensure!(fs::metadata(tidy)?.len() > 0);
    Ok(())
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
