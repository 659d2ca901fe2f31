//! The exercise `leader`: one leader is cut off and comes back, and others die.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_campaign;
mod right_lease;
mod solution;
mod wrong_asks;
mod wrong_put;
mod wrong_same;
mod wrong_stay;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_campaign, right_lease, right_open, right_try, wrong_asks, wrong_busy,
    wrong_close, wrong_drop, wrong_early, wrong_grace, wrong_half, wrong_leave, wrong_often,
    wrong_once, wrong_open, wrong_own, wrong_put, wrong_reads, wrong_same, wrong_second, wrong_stay,
    wrong_term, wrong_thread, wrong_try, wrong_ttl, wrong_turns,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
