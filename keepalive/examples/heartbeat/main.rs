//! The exercise `heartbeat`: the server is restarted, and the network is cut.
//!
//! This program has all answers but `yours`, which is a program of its own (`try.rs`): so hints and
//! the solution come also when `yours.rs` does not compile.

#[macro_use]
mod experiment;

mod edits;
mod mistake;
mod right_stream;
mod solution;

use std::process::ExitCode;

use edits::*;

answers! {
    solution, mistake, right_half, right_new, right_stream, wrong_busy, wrong_deaf, wrong_early,
    wrong_forever, wrong_grant, wrong_last, wrong_late, wrong_latest, wrong_lazy, wrong_leak,
    wrong_leave, wrong_longer, wrong_once, wrong_patient, wrong_proud, wrong_put, wrong_reconnect,
    wrong_second, wrong_seldom, wrong_slow, wrong_stop, wrong_swallow, wrong_thread, wrong_two,
}

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
