//! Tries an answer to an exercise.
//!
//! ```text
//! cargo run -p answers -- counter                        lists the answers
//! cargo run -p answers -- counter wrong_blind_retry      tries one of them
//! ```

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{cannot_use, words};

fn main() -> Result<ExitCode> {
    let words = words(include_str!("main.rs"));
    let [exercise, answer @ ..] = &words[..] else {
        cannot_use("", "cargo run -p answers -- EXERCISE [ANSWER]");
    };
    let answers = answers::answers(exercise).with_context(|| {
        let names = answers::EXERCISES.map(|(name, _)| name).join(", ");
        format!("cannot find an exercise called {exercise:?}; there are: {names}")
    })?;
    match answer {
        [] => {
            for answer in answers {
                writeln!(stdout(), "{:<26}{}", answer.name, answer.verdict)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        [name] => {
            let answer = answers.iter().find(|answer| answer.name == *name);
            let answer = answer.with_context(|| {
                let list = format!("`cargo run -p answers -- {exercise}` lists them");
                format!("cannot find an answer called {name:?}; {list}")
            })?;
            Ok(answer.run())
        }
        more => cannot_use(&more.join(" "), "cargo run -p answers -- EXERCISE [ANSWER]"),
    }
}
