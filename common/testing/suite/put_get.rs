use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use etcd_server::Server;
use testing::{Program, program_at};

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow("put-get")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("put-get")
}

#[test]
fn shows_a_value_that_is_not_utf8() -> Result<()> {
    let server = Server::start()?;
    let mut put = program_at(&server, "put-get")?;
    put.arg(OsStr::from_bytes(b"caf\xe9"));
    Program::start(put)?.expect_success(&["testkey,caf\u{fffd}"])
}
