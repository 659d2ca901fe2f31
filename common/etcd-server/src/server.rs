//! A private etcd.

#[cfg(unix)]
use std::io::Write;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::freeze::{Frozen, freeze};
use crate::launch::{bare_command, etcd_command, serving, spawn, wait_until_serving};

/// A private etcd, with its own data, on a port that the system picks.
///
/// Dropping it stops the etcd and removes the data. On Unix the same happens when the program ends
/// without dropping it, for instance by SIGKILL.
pub struct Server {
    process: Process,
    address: SocketAddr,
    name: String,
    /// The flags at the end of the command line. If a flag occurs twice, the last one counts.
    flags: Vec<String>,
    /// The folder with the data, which the members of a cluster share. The last member that is
    /// dropped removes it.
    pub(crate) folder: Arc<TempDir>,
}

impl Server {
    /// Starts an etcd and waits until it serves.
    ///
    /// # Errors
    ///
    /// The binary can't be started, or etcd exits or does not serve within
    /// [`START_LIMIT`](crate::START_LIMIT). The error quotes the reason from its log.
    pub fn start() -> Result<Server> {
        Server::start_with(&[])
    }

    /// Starts an etcd with further flags, such as `--auth-token-ttl=1`.
    ///
    /// # Errors
    ///
    /// As [`start`](Server::start).
    pub fn start_with(flags: &[&str]) -> Result<Server> {
        let mut server =
            Server::spawn(&Arc::new(temporary_folder()?), "etcd", to_owned_all(flags))?;
        server.wait()?;
        Ok(server)
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the endpoint for clients: the address, with `https://` if it uses TLS.
    pub fn endpoint(&self) -> String {
        match scheme(&self.flags) {
            "http" => self.address.to_string(),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Whether the process has not ended. A frozen process counts as running.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Returns the id of its process, for signals.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the folder with its data.
    pub fn data(&self) -> PathBuf {
        files(&self.folder, &self.name).0
    }

    /// Ends the process at once, as a crash would. The data stays.
    ///
    /// # Errors
    ///
    /// The system can't end the process.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed server again, on the same data and at the same address.
    ///
    /// # Errors
    ///
    /// As [`start`](Server::start), or another program has taken the port in the meantime.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = run(&self.folder, &self.name, self.address, &self.flags)?;
        self.wait()
    }

    /// Freezes the process until the returned [`Frozen`] is dropped. Its connections stay open.
    ///
    /// # Errors
    ///
    /// The process has ended.
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
        let (_, log) = files(&self.folder, &self.name);
        let text = wait_until_serving(&mut self.process.child, &log, None)?;
        self.address =
            serving(&text).context("cannot find the address of etcd: the log names none")?;
        Ok(())
    }
}

/// A running server of any kind. Dropping it ends the server. On Unix the server never outlives
/// this program, however the program ends.
pub struct Process {
    child: Child,
    #[cfg(unix)]
    watchdog: Child,
}

impl Process {
    /// Takes over a server that was just started, and the folder with its data. If this program is
    /// killed, a watchdog ends the server and removes the folder.
    ///
    /// # Errors
    ///
    /// There is no `sh` to run the watchdog. The server has been killed.
    pub fn adopt(
        #[cfg_attr(not(unix), expect(unused_mut, reason = "there is no watchdog"))]
        mut child: Child,
        folder: &Path,
    ) -> Result<Process> {
        #[cfg(unix)]
        let watchdog = spawn_watchdog(&child, folder).inspect_err(|_| drop(child.kill()))?;
        Ok(Process {
            child,
            #[cfg(unix)]
            watchdog,
        })
    }

    /// Returns the id of the process, for signals.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the server has not ended. A frozen server counts as running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process at once, as a crash would. The folder stays.
    ///
    /// # Errors
    ///
    /// The system can't end the process.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // The system may give the process number to another program, which the watchdog must not
        // kill. But the watchdog must still remove the folder if this program is killed.
        #[cfg(unix)]
        if let Some(input) = &mut self.watchdog.stdin {
            writeln!(input, "ended")?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            let _ = self.watchdog.kill(); // first, or it would act when its input ends
            let _ = self.watchdog.wait();
        }
        let _ = self.child.kill(); // fails if it has ended
        let _ = self.child.wait();
    }
}

/// Starts a private etcd in `folder`, and returns before it serves.
fn run(folder: &TempDir, name: &str, address: SocketAddr, flags: &[String]) -> Result<Process> {
    let (data, log) = files(folder, name);
    let mut command = etcd_command(&data, scheme(flags), address, &log)?;
    Process::adopt(spawn(command.args(flags).current_dir(folder))?, folder.path())
}

/// Starts a watchdog: a shell that waits until its input ends, which happens when this program
/// ends, even if it is killed. Then the shell kills the server, unless it has read that the server
/// ended, and removes the folder. In its own process group it gets no signals from the terminal.
#[cfg(unix)]
fn spawn_watchdog(server: &Child, folder: &Path) -> Result<Child> {
    let script =
        r#"while read -r told; do ended=$told; done; [ "$ended" ] || kill -9 "$0"; rm -rf "$1""#;
    bare_command("sh")
        .args(["-c", script, &server.id().to_string()])
        .arg(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(
            "cannot start sh, which ends the server with this program; add its folder to the PATH",
        )
}

fn scheme(flags: &[String]) -> &'static str {
    let secure = flags.iter().any(|flag| flag.starts_with("--cert-file="));
    if secure { "https" } else { "http" }
}

pub(crate) fn to_owned_all(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|&flag| flag.to_owned()).collect()
}

/// Creates a folder that only this account can read, because it gets data and private keys.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir().context("cannot create a temporary folder")
}

/// Returns the paths of the data and the log of the etcd called `name`.
fn files(folder: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let data = folder.path().join(name);
    let log = data.with_extension("log");
    (data, log)
}
