//! The exercise `counter`: eight clients count in one key. Your answer is in `yours.rs`.

#[macro_use]
mod experiment;
mod yours;

use std::process::ExitCode;

answers! { yours }

fn main() -> ExitCode {
    exercise::run(experiment::EXERCISE, ANSWERS, experiment::run)
}
