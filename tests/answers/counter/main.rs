//! All answers to the exercise `counter` but the student's.

#[macro_use]
#[path = "../../../put-get/examples/counter/experiment.rs"]
mod experiment;

mod edits;
mod mistake;
mod right_else;
mod solution;
mod wrong_mutex;
mod wrong_once;
mod wrong_spawn;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_else, right_since, right_value, wrong_again, wrong_else, wrong_first,
    wrong_later, wrong_lock, wrong_look, wrong_lost, wrong_mine, wrong_mutex, wrong_once,
    wrong_patient, wrong_refused, wrong_same, wrong_silent, wrong_spawn, wrong_store, wrong_ten,
    wrong_three, wrong_twice, wrong_unread, wrong_version, wrong_zero,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
