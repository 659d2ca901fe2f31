//! The exercise `heartbeat`: the server is restarted, and the network is cut. Your answer is in
//! `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("heartbeat", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, key, ttl, registered| {
            Box::pin(yours::stay(client, key, ttl, registered))
        })
    })
}
