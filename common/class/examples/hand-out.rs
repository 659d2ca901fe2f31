//! Copies this workspace for students, without the answers.
//!
//! ```text
//! cargo hand-out FOLDER
//! ```
//!
//! The folder must not exist yet. The tests stay out too, as they name the answers.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use common::argument;
use exercise::{COURSE, root};

/// The answers, and what needs them.
const KEPT_BACK: [&str; 3] = ["common/answers", "common/testing/answers", "common/testing/suite"];

fn main() -> Result<()> {
    let Some(folder) = argument("FOLDER", include_str!("hand-out.rs")) else {
        bail!("which folder? Type: cargo hand-out FOLDER");
    };
    let folder = PathBuf::from(String::from_utf8(folder)?);
    let files = files(Path::new(""))?;
    // An error if there is anything: nothing is written over.
    fs::create_dir(&folder).map_err(|error| anyhow!("cannot create {folder:?}: {error}"))?;

    for path in files {
        let copy = folder.join(&path);
        fs::create_dir_all(copy.parent().context("no folder")?)?;
        fs::copy(root().join(&path), copy)
            .with_context(|| format!("cannot copy {}", path.display()))?;
    }
    for exercise in COURSE {
        // Students begin with the mistake, whatever the teacher has tried here.
        let mistake = exercise.answer("mistake.rs");
        let yours = folder.join(exercise.yours().strip_prefix(root())?);
        fs::create_dir_all(folder.join(&mistake).parent().context("no folder")?)?;
        for copy in [folder.join(&mistake), yours] {
            fs::copy(root().join(&mistake), copy)?;
        }
    }
    fs::write(folder.join("TEACHING.md"), "The copy for students has no page for teachers.\n")?;
    writeln!(stdout(), "{} is ready; it has no solutions", folder.display())?;
    Ok(())
}

/// Returns the path of each file for students, from the workspace on.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if !is_kept_back(&path) {
            files.extend(self::files(&path)?);
        }
    }
    Ok(files)
}

/// Whether a folder is not for students: the answers, or nothing of this workspace's own.
fn is_kept_back(path: &Path) -> bool {
    let has = |name| root().join(path).join(name).exists();
    // What a program has made, such as the target folder; another copy of the workspace.
    let is_foreign = has("CACHEDIR.TAG") || has("Cargo.lock");
    is_foreign || path.ends_with(".git") || KEPT_BACK.iter().any(|folder| path == Path::new(folder))
}
