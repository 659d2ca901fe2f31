//! The exercise `leader`: one leader is cut off and comes back, and others die. Your answer is in
//! `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("leader", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, lock, ttl, leads| {
            Box::pin(yours::stand(client, lock, ttl, leads))
        })
    })
}
