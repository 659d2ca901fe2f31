//! What a student has done so far, in files below the target folder. There is no server in it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use etcd_server::target_folder;

use crate::course::{Exercise, root};
use crate::verdict::Verdict;

/// The note with the last text of `yours.rs` that was *held*.
const HELD: &str = ".held.rs";

/// Returns the path of a file about an exercise, below the target folder.
///
/// # Errors
///
/// This program is not in a target folder.
pub fn note(exercise: Exercise, kind: &str) -> Result<PathBuf> {
    let folder = folder().context("this program is in no target folder")?;
    Ok(folder.join(format!("{}{kind}", exercise.name)))
}

/// Returns whether an answer to the exercise was ever *held*.
pub fn was_held(exercise: Exercise) -> bool {
    note(exercise, HELD).is_ok_and(|kept| kept.exists())
}

/// Returns what a student has achieved, in words: the verdicts, and what `yours.rs` is now.
pub fn state(exercise: Exercise) -> &'static str {
    let yours = fs::read_to_string(exercise.yours()).unwrap_or_default();
    let mistake = fs::read_to_string(root().join(exercise.answer("mistake.rs")));
    let is_original = mistake.is_ok_and(|mistake| mistake == yours);
    let note = note(exercise, "").and_then(|note| Ok(fs::read_to_string(note)?));
    let verdict = note.as_deref().ok().and_then(|note| note.split_once('\n'));
    let now = match verdict {
        Some((verdict, tried)) if tried == yours => Some(verdict == "held"),
        _ => None,
    };
    match (was_held(exercise), now) {
        (_, Some(true)) => "held",
        (true, Some(false)) => "held, the file now: broken",
        (true, None) if is_original => "held, the file now: as it comes",
        (true, None) => "held, and changed since",
        (false, Some(false)) if is_original => "broken, as it comes",
        (false, Some(false)) => "broken",
        (false, None) if verdict.is_none() || is_original => "not tried",
        (false, None) => "broken, and changed since",
    }
}

/// Notes the verdict on what `yours.rs` was when it was compiled. Keeps that text if it was *held*.
pub(crate) fn note_verdict(exercise: Exercise, yours: &str, verdict: &Verdict) -> Result<()> {
    let last = note(exercise, "")?;
    fs::create_dir_all(last.parent().context("no folder")?)?;
    if let Verdict::Held(_) = verdict {
        fs::write(note(exercise, HELD)?, yours)?;
    }
    Ok(fs::write(last, format!("{}\n{yours}", verdict.word()))?)
}

/// Returns the folder below the target folder that has what is known of this clone's student.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(target_folder()?.join("progress"))
}
