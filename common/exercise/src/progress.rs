//! A student's progress, in files below the target folder.

use std::fs;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result};
use etcd_server::target_folder;

use crate::course::{Exercise, root};
use crate::verdict::Verdict;

/// The end of the name of the file with the last `yours.rs` that was *held*.
const HELD: &str = ".held.rs";

/// Returns the path of a note about an exercise. `kind` is the end of its name.
///
/// # Errors
///
/// This program is not in a target folder.
pub fn note(exercise: Exercise, kind: &str) -> Result<PathBuf> {
    let folder =
        folder().context("cannot find the target folder: start this program with cargo")?;
    Ok(folder.join(format!("{}{kind}", exercise.name)))
}

/// Returns whether an answer to the exercise was ever *held*.
pub fn was_held(exercise: Exercise) -> bool {
    note(exercise, HELD).is_ok_and(|kept| kept.exists())
}

/// Returns the state of an exercise in words: the best verdict, and what `yours.rs` is now.
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
        (true, Some(false)) => "held, then changed: broken",
        (true, None) if is_original => "held, then the original file again",
        (true, None) => "held, then changed: not tried",
        (false, Some(false)) if is_original => "broken (the original file)",
        (false, Some(false)) => "broken",
        (false, None) if verdict.is_none() || is_original => "not tried",
        (false, None) => "broken, then changed: not tried",
    }
}

/// Notes the verdict on `yours`, the text that was compiled. Keeps the text if it was *held*.
pub(crate) fn note_verdict(exercise: Exercise, yours: &str, verdict: &Verdict) -> Result<()> {
    let last = note(exercise, "")?;
    let (kept, new) = (note(exercise, HELD)?, note(exercise, &format!(".{}", process::id()))?);
    let write = || {
        fs::create_dir_all(last.parent().unwrap_or(&last))?;
        if let Verdict::Held(_) = verdict {
            fs::write(&kept, yours)?;
        }
        // In one step, because another run may read or write the note at the same time.
        fs::write(&new, format!("{}\n{yours}", verdict.word()))?;
        fs::rename(&new, &last)
    };
    write().with_context(|| format!("cannot write {}", last.display()))
}

/// Returns the folder with the notes about this clone's student, below the target folder.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(target_folder()?.join("progress"))
}
