//! The exercise `tidy`: jobs are removed while others use them.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_all;
mod solution;
mod wrong_back;
mod wrong_look;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_all, right_since, right_value, wrong_again, wrong_all, wrong_back,
    wrong_before, wrong_begins, wrong_below, wrong_case, wrong_contains, wrong_count, wrong_create,
    wrong_every, wrong_fresh, wrong_gone, wrong_limit, wrong_look, wrong_mine, wrong_none,
    wrong_not, wrong_partial, wrong_patient, wrong_prefix, wrong_refused, wrong_running,
    wrong_still, wrong_stop, wrong_store, wrong_version,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
