//! The exercise `fencing`: two writers under a lock, one of them paused. Your answer is in
//! `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("fencing", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, session, lock, key| {
            Box::pin(yours::add(client, session, lock, key))
        })
    })
}
