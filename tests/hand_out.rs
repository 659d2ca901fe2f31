//! The copy for students.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};
use exercise::{all_work, root};
use testing::program_with;

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

#[test]
fn a_hand_out_has_no_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let hand_out =
        || -> Result<_> { Ok(program_with("", "examples/hand-out")?.arg(&copy).output()?) };
    let output = hand_out()?;
    ensure!(output.status.success(), "{}", String::from_utf8(output.stderr)?);

    let mut all = Vec::new();
    files(&copy, &mut all)?;
    for work in all_work() {
        let answer = |name: &str| fs::read_to_string(root().join(work.answer(name)));
        let (solution, mistake) = (answer("solution.rs")?, answer("mistake.rs")?);
        let there = copy.join(work.folder());
        ensure!(fs::read_to_string(there.join("yours.rs"))? == mistake, "{}", work.name);
        let main = fs::read_to_string(there.join("main.rs"))?;
        ensure!(main.contains("answers! { ") && !main.contains("solution;"), "{main}");
        // The longest line is not in any other file either.
        let line = solution.lines().max_by_key(|line| line.len()).unwrap_or_default();
        for path in all.iter().filter(|path| path.starts_with(&there)) {
            let text = fs::read_to_string(path)?;
            let is_secret = !mistake.contains(line) && text.contains(line);
            ensure!(!is_secret, "{}: {line}", path.display());
        }
    }

    // A folder that was moved or copied has files of its own, whatever the program was built for.
    let tidy = copy.join("delete/examples/tidy/yours.rs");
    fs::write(tidy, "changed")?;
    let mut progress = program_with("", "examples/progress")?;
    progress.args(["reset", "tidy"]).env("CARGO_MANIFEST_DIR", copy.join("common/exercise"));
    let shown = String::from_utf8(progress.stdin(Stdio::null()).output()?.stdout)?;
    ensure!(shown.starts_with("this throws away your work on tidy."), "{shown}");

    let again = hand_out()?;
    let error = String::from_utf8(again.stderr)?;
    ensure!(again.status.code() == Some(1) && error.ends_with("exists already\n"), "{error}");
    Ok(())
}
