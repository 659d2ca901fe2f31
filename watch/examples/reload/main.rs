//! The exercise `reload`: a value changes when the program doesn't look. Edit `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("reload", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, key, apply| Box::pin(yours::follow(client, key, apply)))
    })
}
