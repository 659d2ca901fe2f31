//! An etcd for one program alone. It does not outlive that program, however that
//! ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::freeze::{Frozen, freeze};
use crate::launch::{etcd, serving, spawn, wait_until_serving};

/// A private etcd, with data of its own and on a port the system picked.
/// Dropping it stops the server and removes the data.
pub struct Server {
    process: Process,
    address: SocketAddr,
    name: String,
    /// Added to the command line; of a flag given twice etcd takes the last.
    flags: Vec<String>,
    /// The last member of a cluster that is dropped removes it.
    pub(crate) folder: Arc<TempDir>,
}

impl Server {
    /// Starts an etcd and waits until it serves.
    ///
    /// # Errors
    ///
    /// As [`find_or_start`](crate::find_or_start).
    pub fn start() -> Result<Server> {
        Server::start_with(&[])
    }

    /// The same with further flags, such as `--auth-token-ttl=1`.
    pub fn start_with(flags: &[&str]) -> Result<Server> {
        let mut server = Server::spawn(&Arc::new(temporary_folder()?), "etcd", owned(flags))?;
        server.wait()?;
        Ok(server)
    }

    /// Where clients reach it, as `ETCDCTL_ENDPOINTS` takes it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with `https://` if it speaks TLS.
    pub fn endpoint(&self) -> String {
        match scheme(&self.flags) {
            "http" => self.address.to_string(),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Whether its process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.etcd.try_wait(), Ok(None))
    }

    /// The number of its process, for signals.
    pub fn id(&self) -> u32 {
        self.process.etcd.id()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        files(&self.folder, &self.name).0
    }

    /// Ends the process at once, as a crash would. The data stays.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed server again, on the same data and at the same address.
    ///
    /// # Errors
    ///
    /// As [`find_or_start`](crate::find_or_start).
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = run(&self.folder, &self.name, self.address, &self.flags)?;
        self.wait()
    }

    /// Stops the process where it stands, with its connections open, until what
    /// this returns is dropped.
    pub fn freeze(&self) -> Result<Frozen> {
        freeze(self.id())
    }

    pub(crate) fn spawn(folder: &Arc<TempDir>, name: &str, flags: Vec<String>) -> Result<Server> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Server {
            process: run(folder, name, address, &flags)?,
            address,
            name: name.to_owned(),
            flags,
            folder: Arc::clone(folder),
        })
    }

    pub(crate) fn wait(&mut self) -> Result<()> {
        let (data, log) = files(&self.folder, &self.name);
        let text = wait_until_serving(&mut self.process.etcd, &data, &log)?;
        self.address = serving(&text).context("the log names no address")?;
        Ok(())
    }
}

/// A running etcd that does not outlive this program.
struct Process {
    etcd: Child,
    #[cfg(unix)]
    keeper: Child,
}

impl Process {
    fn kill(&mut self) -> Result<()> {
        #[cfg(unix)]
        {
            // First, so that it never kills by a number that is used again.
            self.keeper.kill()?;
            self.keeper.wait()?;
        }
        self.etcd.kill()?;
        self.etcd.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // it may have been killed already
    }
}

/// Runs a private etcd in `folder`; it does not serve yet.
fn run(folder: &TempDir, name: &str, address: SocketAddr, flags: &[String]) -> Result<Process> {
    let (data, log) = files(folder, name);
    let mut command = etcd(&data, scheme(flags), address, &log)?;
    let etcd = spawn(command.args(flags).current_dir(folder))?;
    #[cfg(unix)]
    let keeper = keep(&etcd, folder)?;
    Ok(Process {
        etcd,
        #[cfg(unix)]
        keeper,
    })
}

/// A shell that waits until this program ends: then, and not before, its input
/// ends. Nothing else would tell an etcd, and a killed program drops nothing.
#[cfg(unix)]
fn keep(etcd: &Child, folder: &TempDir) -> Result<Child> {
    let script = r#"trap "" HUP INT TERM; read -r _; kill -9 "$0"; rm -rf "$1""#;
    Ok(Command::new("sh")
        .args(["-c", script, &etcd.id().to_string()])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

fn scheme(flags: &[String]) -> &'static str {
    let secure = flags.iter().any(|flag| flag.starts_with("--cert-file="));
    if secure { "https" } else { "http" }
}

pub(crate) fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|&flag| flag.to_owned()).collect()
}

pub(crate) fn temporary_folder() -> Result<TempDir> {
    tempfile::tempdir().context("cannot create a temporary folder")
}

/// Where the etcd of that name has its data and its log.
fn files(folder: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let data = folder.path().join(name);
    let log = data.with_extension("log");
    (data, log)
}
