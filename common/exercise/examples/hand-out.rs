//! Copies this workspace for students, without the solutions and the wrong answers.
//!
//! ```text
//! cargo hand-out FOLDER
//! ```
//!
//! The folder must not exist yet. The tests stay out too, as they name the answers.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use common::argument;
use exercise::root;

fn main() -> Result<()> {
    let Some(folder) = argument("FOLDER", include_str!("hand-out.rs")) else {
        bail!("which folder? Type: cargo hand-out FOLDER");
    };
    let folder = PathBuf::from(String::from_utf8(folder)?);
    ensure!(!folder.exists(), "{} exists already", folder.display());

    let mut git = Command::new("git");
    let listed =
        git.args(["ls-files", "-z"]).current_dir(root()).output().context("cannot run git")?;
    ensure!(
        listed.status.success(),
        "this is no clone: {}",
        String::from_utf8(listed.stderr)?.trim()
    );
    let listed = String::from_utf8(listed.stdout)?;
    for path in listed.split_terminator('\0').map(Path::new).filter(|path| is_for_students(path)) {
        let copy = folder.join(path);
        fs::create_dir_all(copy.parent().context("no folder")?)?;
        let original = root().join(path);
        let is_exercise = original.with_file_name("yours.rs").exists();
        let mistake = original.with_file_name("mistake.rs");
        if is_exercise && path.ends_with("main.rs") && mistake.exists() {
            fs::write(copy, without_answers(&fs::read_to_string(original)?)?)?;
        } else if is_exercise && path.ends_with("yours.rs") {
            let name = path.parent().and_then(Path::file_name).context("no name")?;
            let apart = root().join("tests/answers").join(name).join("mistake.rs");
            fs::copy(if mistake.exists() { mistake } else { apart }, copy)?;
        } else if path == Path::new("Cargo.toml") {
            fs::write(copy, fs::read_to_string(original)?.replace("    \"tests\",\n", ""))?;
        } else if path == Path::new("README.md") {
            fs::write(copy, first_page(&fs::read_to_string(original)?))?;
        } else {
            fs::copy(&original, copy).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    writeln!(stdout(), "{} is ready; it has no solutions", folder.display())?;
    Ok(())
}

fn is_for_students(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_answer = ["solution.rs", "edits.rs"].contains(&&*name)
        || name.starts_with("right_")
        || name.starts_with("wrong_");
    let is_check = path.components().any(|part| part.as_os_str() == "tests")
        || [".ci", ".github/workflows"].iter().any(|folder| path.starts_with(folder));
    name == "mistake.rs" || !is_answer && !is_check && path != Path::new("TEACHING.md")
}

/// Returns the `main.rs` of an exercise with the handed out answer as the only one.
fn without_answers(main: &str) -> Result<String> {
    let (top, _) = main.split_once("\nmod experiment;\n").context("no experiment")?;
    let (_, end) = main.split_once("\nfn main()").context("no main")?;
    Ok(format!(
        "{top}\nmod experiment;\nmod mistake;\n\nuse std::process::ExitCode;\n\nanswers! {{ mistake }}\n\nfn main(){end}"
    ))
}

/// Returns the first page with what is not so in the copy.
fn first_page(page: &str) -> String {
    let has_no = "## Exercises\n\n**This copy has no solutions: `-- solution` only says so.**\n";
    let lines = page.lines().filter(|line| !line.starts_with("- [TEACHING.md]"));
    let page: String = lines.map(|line| format!("{line}\n")).collect();
    page.replacen("## Exercises\n", has_no, 1)
}
