//! The exercise `roster`: students come and go while the board does not look. Your answer is in
//! `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("roster", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, class, draw| Box::pin(yours::show(client, class, draw)))
    })
}
