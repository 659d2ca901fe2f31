//! The exercise `pages`: parcels are moved while they are listed. Your answer is in `yours.rs`.

mod experiment;
mod yours;

use std::process::ExitCode;

fn main() -> ExitCode {
    exercise::run("pages", include_str!("yours.rs"), |scene| {
        experiment::run(scene, |client, shelves, limit| {
            Box::pin(yours::read(client, shelves, limit))
        })
    })
}
