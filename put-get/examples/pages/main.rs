//! The exercise `pages`: parcels are moved while they are listed.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_back;
mod solution;
mod wrong_keys;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_back, right_first, right_full, right_over, right_retry, wrong_after,
    wrong_again, wrong_before, wrong_each, wrong_end, wrong_first, wrong_forever, wrong_forgotten,
    wrong_increment, wrong_keys, wrong_largest, wrong_last, wrong_max, wrong_more, wrong_newest,
    wrong_over, wrong_partial, wrong_patient, wrong_prefix, wrong_refused, wrong_rest, wrong_single,
    wrong_slash, wrong_stop, wrong_version, wrong_whole,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
