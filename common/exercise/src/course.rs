use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::all_work;

/// The exercises in reading order: the package, which is the chapter, and the name.
pub const COURSE: [(&str, &str); 9] = [
    ("put-get", "counter"),
    ("put-get", "pages"),
    ("watch", "reload"),
    ("delete", "tidy"),
    ("lease", "registry"),
    ("keepalive", "heartbeat"),
    ("lock", "fencing"),
    ("lock", "leader"),
    ("exercise", "roster"),
];

/// Returns the folder of the workspace, wherever it is now: cargo builds nothing again when it was moved,
/// or copied together with what is built.
pub fn root() -> PathBuf {
    // That of the package that `cargo run` has started.
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = package.ancestors().find(|folder| folder.join("common/exercise").exists());
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    root.unwrap_or(Path::new(built)).to_owned()
}

/// Says what there is to do for somebody whose answer has held.
pub(crate) fn next(name: &str) -> String {
    let mut rest = all_work().into_iter().skip_while(|work| work.name != name);
    let this = rest.next();
    let next = match rest.next() {
        Some(work) => format!("next: {}", work.command()),
        None => "that was the last exercise".to_owned(),
    };
    match this.map(|work| work.answer("solution.rs")).filter(|path| root().join(path).exists()) {
        Some(path) => format!("compare it with {path}; {next}"),
        None => next,
    }
}

/// Builds and runs another program of the exercise, as this one was built. Returns its exit status.
pub(crate) fn try_in(package: &str, example: &str, words: &[String]) -> Result<ExitCode> {
    // target/debug/examples/NAME
    let program = env::current_exe()?;
    let folder = program.ancestors().nth(2).context("this program is in no folder")?;
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "--package", package, "--example", example]);
    cargo.args(["--profile", profile]).arg("--target-dir").args(folder.parent());
    cargo.arg("--manifest-path").arg(root().join("Cargo.toml"));
    if common::HAS_TLS {
        cargo.args(["--features", "common/tls"]);
    }
    if !stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let status = cargo.arg("--").args(words).status().context("cannot run cargo")?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // What `run` returns. Everything else comes from cargo.
        Some(code @ 0..=2) => Ok(ExitCode::from(code)),
        Some(_) => bail!("yours.rs does not compile; -- hint and -- solution work all the same"),
        None => bail!("{status}"),
    }
}
