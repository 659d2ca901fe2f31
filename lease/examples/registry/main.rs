//! The exercise `registry`: of six services, three end.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod solution;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_get, right_ignore, right_txn, wrong_back, wrong_behind, wrong_create,
    wrong_delete, wrong_found, wrong_grant, wrong_hope, wrong_id, wrong_lease, wrong_number,
    wrong_one, wrong_patient, wrong_renews, wrong_revoke, wrong_silent, wrong_spawn, wrong_swallow,
    wrong_ttl, wrong_twice, wrong_unread,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
