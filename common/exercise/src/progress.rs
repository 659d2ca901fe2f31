//! What a student has done so far, in files below the target folder. There is no server in it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use etcd_server::target_folder;

use crate::course::{Exercise, root};
use crate::verdict::Verdict;

/// Returns the path of a file about an exercise, below the target folder.
///
/// # Errors
///
/// This program is not in a target folder.
pub fn note(exercise: Exercise, kind: &str) -> Result<PathBuf> {
    let folder = folder().context("this program is in no target folder")?;
    Ok(folder.join(format!("{}{kind}", exercise.name)))
}

/// Returns `held` or `broken`, the last verdict, and whether `yours.rs` is still what it was then.
/// Returns `None` if there was no verdict, or if `yours.rs` is as it was handed out.
pub fn last_verdict(exercise: Exercise) -> Option<(String, bool)> {
    let yours = fs::read_to_string(exercise.yours()).ok()?;
    let mistake = fs::read_to_string(root().join(exercise.answer("mistake.rs")));
    if mistake.is_ok_and(|mistake| mistake == yours) {
        return None;
    }
    let note = fs::read_to_string(note(exercise, "").ok()?).ok()?;
    let (verdict, tried) = note.split_once('\n')?;
    Some((verdict.to_owned(), tried == yours))
}

/// Notes the verdict on what `yours.rs` was when it was compiled.
pub(crate) fn note_verdict(exercise: Exercise, yours: &str, verdict: &Verdict) -> Result<()> {
    let note = note(exercise, "")?;
    fs::create_dir_all(note.parent().context("no folder")?)?;
    Ok(fs::write(note, format!("{}\n{yours}", verdict.word()))?)
}

/// Returns the folder below the target folder that has what is known of this clone's student.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(target_folder()?.join("progress"))
}
