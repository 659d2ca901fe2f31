//! The exercise `counter`: eight clients share one counter. Edit `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("counter", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, key| Box::pin(yours::add(client, key)))
    })
}
