//! The exercise `tidy`: deleting jobs while others restart them. Edit `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("tidy", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, folder| Box::pin(yours::tidy(client, folder)))
    })
}
