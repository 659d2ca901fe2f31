//! The exercise `roster`: students come and go while the board does not look.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_bell;
mod right_resume;
mod solution;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_bell, right_late, right_resume, right_same, wrong_begins, wrong_busy,
    wrong_delete, wrong_empty, wrong_end, wrong_event, wrong_failed, wrong_first, wrong_folder,
    wrong_history, wrong_key, wrong_merge, wrong_newest, wrong_now, wrong_patient, wrong_poll,
    wrong_request, wrong_resume, wrong_seldom, wrong_silence, wrong_stays, wrong_text,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
