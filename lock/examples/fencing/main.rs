//! The exercise `fencing`: two writers under a lock, one of them paused.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod solution;
mod wrong_asks;
mod wrong_early;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_again, right_both, right_drop, right_less, right_number, right_token,
    wrong_alive, wrong_anyway, wrong_asks, wrong_early, wrong_else, wrong_error, wrong_exists,
    wrong_forget, wrong_lease, wrong_less, wrong_look, wrong_more, wrong_patient, wrong_same,
    wrong_sure, wrong_text, wrong_true, wrong_unlock, wrong_unlocked, wrong_unsure, wrong_zero,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
