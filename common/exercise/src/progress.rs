//! What a student has done so far, in files below the target folder. There is no server in it.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::course::root;
use crate::{COURSE, Verdict};

/// One exercise of the course, as one student has left it.
#[derive(Clone, Copy)]
pub struct Work {
    /// The package of the exercise.
    pub chapter: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// Returns all exercises, in the order of the course.
pub fn all_work() -> [Work; COURSE.len()] {
    COURSE.map(|(chapter, name)| Work { chapter, name })
}

impl Work {
    /// Returns the command that tries it.
    pub fn command(self) -> String {
        format!("cargo run -p {} --example {}", self.chapter, self.name)
    }

    /// Returns the folder with its files, from the workspace on.
    pub fn folder(self) -> String {
        let package = if self.chapter == "exercise" { "common/exercise" } else { self.chapter };
        format!("{package}/examples/{}", self.name)
    }

    /// Returns the path of a file of the exercise, such as `yours.rs`.
    pub fn file(self, name: &str) -> PathBuf {
        root().join(self.folder()).join(name)
    }

    /// Returns the path of an answer, such as `solution.rs`, from the workspace on.
    pub fn answer(self, name: &str) -> String {
        match root().join("tests/answers").join(self.name).exists() {
            true => format!("tests/answers/{}/{name}", self.name),
            false => format!("{}/{name}", self.folder()),
        }
    }

    /// Returns the path of a file about the work, below the target folder.
    ///
    /// # Errors
    ///
    /// This program is not in a target folder.
    pub fn note(self, kind: &str) -> Result<PathBuf> {
        let folder = folder().context("this program is in no target folder")?;
        Ok(folder.join(format!("{}{kind}", self.name)))
    }

    /// Returns `held` or `broken`, the last verdict, and whether `yours.rs` is still what it was then.
    /// Returns `None` if there was no verdict, or if `yours.rs` is as it was handed out.
    pub fn verdict(self) -> Option<(String, bool)> {
        let yours = fs::read_to_string(self.file("yours.rs")).ok()?;
        if fs::read_to_string(root().join(self.answer("mistake.rs")))
            .is_ok_and(|mistake| mistake == yours)
        {
            return None;
        }
        let note = fs::read_to_string(self.note("").ok()?).ok()?;
        let (verdict, tried) = note.split_once('\n')?;
        Some((verdict.to_owned(), tried == yours))
    }

    /// Notes the verdict on `yours.rs`.
    pub(crate) fn tried(self, verdict: &Verdict) -> Result<()> {
        let note = self.note("")?;
        fs::create_dir_all(note.parent().context("no folder")?)?;
        let yours = fs::read_to_string(self.file("yours.rs"))?;
        Ok(fs::write(note, format!("{}\n{yours}", verdict.word()))?)
    }
}

/// Returns the folder below the target folder that has what is known of this clone's student.
pub(crate) fn folder() -> Option<PathBuf> {
    // target/debug/examples/NAME
    Some(env::current_exe().ok()?.ancestors().nth(3)?.join("progress"))
}
