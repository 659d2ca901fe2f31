use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use etcd_server::{Server, free_address};

use crate::readme::Cluster;
use crate::{PATIENCE, signal};

/// The workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A user's machine, with the background etcd at another port than 2379. Dropping it kills that server,
/// however often it was started, and removes the data.
pub struct Desk {
    pub address: SocketAddr,
    /// The processes of the server, in the order of their starts.
    pub servers: Vec<u32>,
    /// The processes of other programs that say how to kill them.
    pub(crate) programs: Vec<u32>,
    /// A cluster that has been started in a terminal.
    pub(crate) cluster: Cluster,
}

impl Desk {
    /// Returns a machine on which no etcd runs.
    pub fn new() -> Result<Desk> {
        Ok(Desk {
            address: free_address()?,
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
            // As in a terminal: with pictures that are not plain ASCII.
            .envs([("CLICOLOR_FORCE", "1"), ("LC_ALL", "C.UTF-8")])
            .env_remove("NO_COLOR")
            .envs(self.cluster.exported.iter().map(|(name, value)| (name, value)))
            .current_dir(ROOT);
        Ok(command)
    }

    /// Notes the process that a line names if it says how to stop a server or a program, and what the
    /// line says about a cluster.
    pub fn note(&mut self, line: &str) {
        let process =
            |text| line.strip_prefix(text).and_then(|process| process.parse::<u32>().ok());
        self.servers.extend(process("it keeps running; stop it with: kill "));
        self.programs.extend(process("kill this process with: kill -9 "));
        self.cluster.note(line);
    }
}

impl Drop for Desk {
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

/// Returns the command that runs the answers to an exercise with a private server.
pub fn answers_at(server: &Server, exercise: &str) -> Result<Command> {
    program_at(server, &with_answers(&format!("examples/{exercise}")))
}

/// Returns the program that has the answers to an exercise, or the program itself.
pub(crate) fn with_answers(program: &str) -> String {
    let name = program.strip_prefix("examples/").unwrap_or_default();
    match Path::new(ROOT).join("tests/answers").join(name).join("main.rs").exists() {
        true => format!("{program}-answers"),
        false => program.to_owned(),
    }
}

/// Returns the command that runs a program of this workspace with these endpoints.
pub fn program_with(endpoints: &str, name: &str) -> Result<Command> {
    let mut command = program(name)?;
    command.env("ETCDCTL_ENDPOINTS", endpoints);
    Ok(command)
}

/// Returns the command that runs a program of this workspace. The first call builds all of them.
fn program(name: &str) -> Result<Command> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let folder = built.as_ref().map_err(|error| anyhow!("{error}"))?;
    let mut command = Command::new(folder.join(name).with_extension(env::consts::EXE_EXTENSION));
    for (name, _) in env::vars_os() {
        // A developer's own settings are for another etcd.
        if name.as_encoded_bytes().starts_with(b"ETCDCTL_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Builds the programs of all default members of this workspace, because `cargo test -p NAME` builds those of one package only.
/// Returns the folder with the programs.
fn build() -> Result<PathBuf> {
    // A test is built into target/debug/deps, the programs beside that folder.
    let test = env::current_exe()?;
    let folder = test.ancestors().nth(2).context("this test is in no folder")?;
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        None | Some("debug") => "test",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // As `cargo test` does, after which there is nothing to build. `cargo build` would build half of
    // the dependencies again, with other features.
    cargo
        .args(["test", "--no-run", "--quiet", "--profile", profile])
        .arg("--target-dir")
        .args(folder.parent())
        .current_dir(ROOT);
    if cfg!(feature = "tls") {
        cargo.args(["--features", "common/tls,etcd-server/tls"]);
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.to_owned())
}
