use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_server::{Server, free_address, target_folder};

use crate::cluster::Cluster;
use crate::{PATIENCE, command, signal};

/// A user's machine, with the background etcd at another port than 2379. Dropping it kills that
/// server, however often it was started, and removes the data.
pub struct TestMachine {
    pub address: SocketAddr,
    /// The processes of the server, in the order in which they started.
    pub servers: Vec<u32>,
    /// The processes of other programs that print how to kill them.
    pub(crate) programs: Vec<u32>,
    /// A cluster that was started in a terminal.
    pub(crate) cluster: Cluster,
}

impl TestMachine {
    /// Returns a machine on which no etcd runs.
    pub fn new() -> Result<TestMachine> {
        // The port and its data belong to this machine, even while its etcd is killed.
        static USED: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut address = free_address()?;
        while !used.insert(address) {
            address = free_address()?;
        }
        Ok(TestMachine {
            address,
            servers: Vec::new(),
            programs: Vec::new(),
            cluster: Cluster::default(),
        })
    }

    /// Starts the background etcd, as the first run of a chapter does.
    pub fn start_server(&mut self) -> Result<()> {
        let process = etcd_server::find_or_start(self.address)?;
        self.servers.push(process.context("something else has taken the port")?);
        Ok(())
    }

    /// Returns the command that runs a program of this workspace on this machine.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = program(name)?;
        command
            .env("ETCD_LOCAL_PORT", self.address.port().to_string())
            // Pictures as in a terminal, not in plain ASCII.
            .envs([("CLICOLOR_FORCE", "1"), ("LC_ALL", "C.UTF-8")])
            .envs(self.cluster.exported.iter().map(|(name, value)| (name, value)))
            .current_dir(root());
        Ok(command)
    }

    /// Notes the process in a line that says how to stop a server or a program, and what a line
    /// says about a cluster.
    pub fn note(&mut self, line: &str) {
        let process =
            |text| line.strip_prefix(text).and_then(|process| process.parse::<u32>().ok());
        self.servers.extend(process("it keeps running; stop it with: kill "));
        self.programs.extend(process("kill this process with: kill -9 "));
        self.cluster.note(line);
    }
}

impl Drop for TestMachine {
    fn drop(&mut self) {
        for &server in &self.servers {
            let _ = signal("KILL", server); // it may have ended already
        }
        let data = etcd_server::background_data(self.address);
        // A killed server may still be writing for a moment.
        let deadline = Instant::now() + PATIENCE;
        while data.exists() && fs::remove_dir_all(&data).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        for beside in ["log", "log.old", "lock"] {
            let _ = fs::remove_file(data.with_extension(beside));
        }
    }
}

/// Returns the command that runs a program of this workspace with a private server.
pub fn program_at(server: &Server, name: &str) -> Result<Command> {
    program_with(&server.endpoint(), name)
}

/// Returns the command that runs a program of this workspace with these endpoints.
pub fn program_with(endpoints: &str, name: &str) -> Result<Command> {
    let mut command = program(name)?;
    command.env("ETCDCTL_ENDPOINTS", endpoints);
    Ok(command)
}

/// Returns the folder of the workspace. It may have moved since this test was built, because cargo
/// doesn't rebuild a workspace that was moved or copied.
pub fn root() -> PathBuf {
    let built = env!("CARGO_MANIFEST_DIR");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or(built.into()));
    let root = package.ancestors().find(|folder| folder.join("common/testing").exists());
    root.unwrap_or(&package).to_owned()
}

/// Returns the command that runs a program of this workspace, such as `put-get` or
/// `examples/counter`, as `cargo run` does, but with little of the environment. Builds the program
/// if necessary.
pub fn program(name: &str) -> Result<Command> {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // One build at a time; cargo has a lock for that anyway.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(name) {
        build(name).with_context(|| format!("cannot build {name}"))?;
        built.insert(name.to_owned());
    }
    let file = folder()?.join(name).with_extension(env::consts::EXE_EXTENSION);
    let mut command = command(file);
    command.env("CARGO_MANIFEST_DIR", root());
    Ok(command)
}

/// Returns the folder of the programs that cargo builds, such as `target/debug`. Tests are in
/// `target/debug/deps`.
fn folder() -> Result<PathBuf> {
    let test = env::current_exe()?;
    Ok(test.ancestors().nth(2).context("this test is in no folder")?.to_owned())
}

/// Builds a program as this test was built. Returns what cargo says about each crate, as lines of
/// JSON.
pub fn build(program: &str) -> Result<String> {
    let folder = folder()?;
    let profile = match folder.file_name() {
        Some(name) if name != "debug" => name,
        _ => OsStr::new("dev"),
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .arg("--profile")
        .arg(profile);
    let target = target_folder().context("this test is not in a target folder")?;
    cargo.arg("--target-dir").arg(&target);
    // With a named platform, its name is between the target folder and `debug`.
    if let Some(platform) = folder.parent().filter(|parent| **parent != target) {
        cargo.arg("--target").args(platform.file_name());
    }
    match program.strip_prefix("examples/") {
        Some(example) => cargo.args(["--example", example]),
        None => cargo.args(["--bin", program]),
    };
    if cfg!(feature = "tls") {
        cargo.args(["--features", "common/tls,etcd-server/tls"]);
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
