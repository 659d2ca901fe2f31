use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// The exercises in reading order: the chapter, which is the package, and the name.
pub const COURSE: [(&str, &str); 8] = [
    ("put-get", "counter"),
    ("put-get", "pages"),
    ("watch", "reload"),
    ("delete", "tidy"),
    ("lease", "registry"),
    ("keepalive", "heartbeat"),
    ("lock", "fencing"),
    ("lock", "leader"),
];

/// The workspace.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Says what there is to do for somebody whose answer has held.
pub(crate) fn next(name: &str) -> String {
    let mut rest = COURSE.iter().skip_while(|(_, other)| *other != name);
    let folder = rest.next().map(|(chapter, name)| format!("{chapter}/examples/{name}"));
    let solution = format!("{}/solution.rs", folder.unwrap_or_default());
    let next = match rest.next() {
        Some((chapter, name)) => format!("next: cargo run -p {chapter} --example {name}"),
        None => "that was the last exercise".to_owned(),
    };
    match Path::new(ROOT).join(&solution).exists() {
        true => format!("compare it with {solution}; {next}"),
        false => next,
    }
}

/// Builds and runs the program that has `yours.rs`, as it was built here. Returns its exit status.
pub(crate) fn try_yours(name: &str) -> Result<ExitCode> {
    let of_course = COURSE.iter().find(|(_, other)| *other == name);
    let (chapter, _) = of_course.with_context(|| format!("COURSE has no {name}"))?;
    // target/debug/examples/NAME
    let program = env::current_exe()?;
    let folder = program.ancestors().nth(2).context("this program is in no folder")?;
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "--package", chapter, "--example", &format!("{name}-yours")]);
    cargo.args(["--profile", profile]).arg("--target-dir").args(folder.parent());
    cargo.arg("--manifest-path").arg(Path::new(ROOT).join("Cargo.toml"));
    if common::HAS_TLS {
        cargo.args(["--features", "common/tls"]);
    }
    if !stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let status = cargo.status().context("cannot run cargo")?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // What `run` returns. Everything else comes from cargo.
        Some(code @ 0..=2) => Ok(ExitCode::from(code)),
        Some(_) => bail!("yours.rs does not compile; -- hint and -- solution work all the same"),
        None => bail!("{status}"),
    }
}
