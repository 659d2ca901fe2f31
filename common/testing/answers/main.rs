//! Tries an answer to an exercise.
//!
//! ```text
//! cargo run -p answers -- counter                  what answers there are
//! cargo run -p answers -- counter wrong_again
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use common::{cannot_use, words};

fn main() -> Result<ExitCode> {
    let words = words(include_str!("main.rs"));
    let (exercise, name) = match &words[..] {
        [exercise] => (exercise, None),
        [exercise, name] => (exercise, Some(name)),
        _ => cannot_use(&words.join(" "), "cargo run -p answers -- EXERCISE [ANSWER]"),
    };
    let answers = answers::answers(exercise);
    match name {
        Some(name) => match answers.iter().find(|answer| answer.name == *name) {
            Some(answer) => Ok(answer.run()),
            None => cannot_use(&words.join(" "), "cargo run -p answers -- EXERCISE [ANSWER]"),
        },
        None => {
            for answer in answers {
                writeln!(stdout(), "{:<18}{}", answer.name, answer.verdict)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
