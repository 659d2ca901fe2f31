//! The exercise `pages`: parcels move while `read` lists them. Edit `yours.rs`.

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
