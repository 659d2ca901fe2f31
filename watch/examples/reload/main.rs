//! The exercise `reload`: a value changes when the program does not look.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_ring;
mod right_watch;
mod solution;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_list, right_ring, right_watch, wrong_again, wrong_busy,
    wrong_confirmed, wrong_drop, wrong_early, wrong_end, wrong_event, wrong_header, wrong_history,
    wrong_idle, wrong_key, wrong_late, wrong_limit, wrong_list, wrong_now, wrong_older,
    wrong_patient, wrong_poll, wrong_prefix, wrong_progress, wrong_request, wrong_revision,
    wrong_seldom, wrong_silence, wrong_spin, wrong_text,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
