//! Copies this workspace for students, without the answers.
//!
//! ```text
//! cargo handout FOLDER
//! ```
//!
//! The folder must not exist yet. The tests are not in the copy either, because they name the
//! answers.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use common::argument;
use exercise::{COURSE, root};

/// The answers, and the programs that need them.
const KEPT_BACK: [&str; 3] = ["common/answers", "common/testing/answers", "common/testing/suite"];

fn main() -> Result<()> {
    let Some(folder) = argument("FOLDER", include_str!("handout.rs")) else {
        bail!("cannot copy the workspace: no folder is named; type: cargo handout FOLDER");
    };
    let folder = PathBuf::from(String::from_utf8(folder)?);
    let files = files(Path::new(""))?;
    // Fails if the folder exists, so the copy overwrites nothing.
    fs::create_dir(&folder).map_err(|error| {
        anyhow!("cannot create {folder:?}: {error}; name a new folder in an existing one")
    })?;

    for path in files {
        let copy = folder.join(&path);
        fs::create_dir_all(copy.parent().context("no folder")?)?;
        fs::copy(root().join(&path), copy)
            .with_context(|| format!("cannot copy {}", path.display()))?;
    }
    for exercise in COURSE {
        // Students begin with the original, whatever the teacher has tried here.
        let mistake = exercise.answer("mistake.rs");
        let yours = folder.join(exercise.yours().strip_prefix(root())?);
        fs::create_dir_all(folder.join(&mistake).parent().context("no folder")?)?;
        for copy in [folder.join(&mistake), yours] {
            fs::copy(root().join(&mistake), copy)
                .with_context(|| format!("cannot copy {mistake}"))?;
        }
    }
    // The first page links to it.
    fs::write(folder.join("TEACHING.md"), "The copy for students has no page for teachers.\n")?;
    writeln!(stdout(), "copied this workspace to {}, without solutions", folder.display())?;
    Ok(())
}

/// Returns the files below `folder` that students get. All paths are relative to the workspace.
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

/// Returns whether students don't get this folder: it has answers, or isn't part of the workspace.
fn is_kept_back(path: &Path) -> bool {
    let has = |name| root().join(path).join(name).exists();
    // Cargo's target folder and other caches, or another copy of the workspace. The package
    // lock/crates has a Cargo.lock of its own.
    let is_copy = has("Cargo.lock") && path != Path::new("lock/crates");
    let is_foreign = has("CACHEDIR.TAG") || is_copy;
    is_foreign || path.ends_with(".git") || KEPT_BACK.iter().any(|folder| path == Path::new(folder))
}
