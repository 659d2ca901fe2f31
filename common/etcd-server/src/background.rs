//! The etcd in the background that the chapters share.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::launch::{
    POLL_INTERVAL, START_LIMIT, create_private, etcd, limit, quoted, shown, spawn,
    wait_until_serving,
};

/// Starts an etcd in the background if nothing listens at `address`, and waits until it serves.
/// Announces it on stderr before, and returns the id of the process; returns `None` if there was
/// nothing to start. The etcd outlives this program.
///
/// Programs that call this at the same moment share one server. It keeps its data in
/// [`background_data`]. Its log is in the same place with the ending `.log`, and the log of the etcd
/// before with `.log.old`.
///
/// # Errors
///
/// - The folder or the log cannot be written, or the binary cannot be started.
/// - Another etcd with this data has been starting or stopping for 30 s.
/// - etcd exits, or does not serve within [`START_LIMIT`]. The error has the reason from its log.
pub fn find_or_start(address: SocketAddr) -> Result<Option<u32>> {
    if is_taken(address)? {
        return Ok(None);
    }
    let data = background_data(address);
    let beside = data.with_file_name("");
    fs::create_dir_all(&beside).with_context(|| format!("cannot create {}", beside.display()))?;
    let Some(turn) = take_turn(address, &data.with_extension("lock"))? else {
        return Ok(None); // another program had its turn first
    };
    let log = data.with_extension("log");
    let _ = fs::rename(&log, data.with_extension("log.old")); // there may be none
    let store = data.exists().then(|| quoted(shown(&data)));

    let mut command = etcd(&data, "http", address, &log)?;
    // etcd inherits the file, and on Unix the lock with it. So no other is started while this one
    // starts, if its program was killed, or stops: up to 7 s, its grace period for open watches.
    command.stdin(turn);
    // A process group of its own: Ctrl-C, and closing the terminal, signal the group of the
    // program in the foreground.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        &mut command,
        0x0000_0208, // CREATE_NEW_PROCESS_GROUP | DETACHED_PROCESS
    );
    eprintln!("starting etcd at {address}, with its data in {}", shown(&data));
    // A pipe that somebody gave this program would otherwise stay open for as long as etcd runs.
    #[cfg(unix)]
    close_fds::set_fds_cloexec(3, &[]);
    let mut etcd = spawn(&mut command)?;
    let stop = if cfg!(windows) { "taskkill /f /pid" } else { "kill" };
    eprintln!("it keeps running; stop it with: {stop} {}", etcd.id());
    wait_until_serving(&mut etcd, &log, store.as_deref())
        .map_err(|error| anyhow!("{error}; the log of etcd is {}", shown(&log)))?;
    Ok(Some(etcd.id()))
}

/// Returns where the background etcd at `address` keeps its data: the folder `etcd` in cargo's
/// target folder, or `etcd-PORT` for another port than 2379.
///
/// The target folder is the one that this program has been built in, wherever it is now. A program
/// outside of any has its data in the folder `.etcd-by-example` of this account's home: the folder
/// for temporary files is everybody's.
pub fn background_data(address: SocketAddr) -> PathBuf {
    let home = || env::home_dir().map(|home| home.join(".etcd-by-example"));
    let target = target_folder().or_else(home).unwrap_or_else(env::temp_dir);
    match address.port() {
        2379 => target.join("etcd"),
        port => target.join(format!("etcd-{port}")),
    }
}

/// Returns cargo's target folder, in which this program has been built, wherever it is now.
pub fn target_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    // Cargo marks it for programs that make backups, but not if it was there before. It always locks the folder of a
    // profile, such as `debug`.
    let is_marked = |folder: &&Path| folder.join("CACHEDIR.TAG").exists();
    let marked = program.ancestors().find(is_marked);
    let profile = || program.ancestors().find(|folder| folder.join(".cargo-lock").exists());
    let target = marked.or_else(|| profile()?.parent())?;
    // In a target folder, each platform that is named has one of its own.
    Some(target.parent().filter(is_marked).unwrap_or(target).to_owned())
}

/// Waits for this program's turn to start a server, which ends when the file is closed. Returns `None`
/// if another has started one meanwhile.
fn take_turn(address: SocketAddr, path: &Path) -> Result<Option<File>> {
    let shown = path.display();
    let file = create_private(path).with_context(|| format!("cannot write {shown}"))?;
    let deadline = Instant::now() + 2 * START_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if is_taken(address)? => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL_INTERVAL),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "cannot lock {shown}: an etcd, or a program that starts one, has held this file for 30 s; \
                     stop that process"
                )
            }
            Err(TryLockError::Error(error)) => bail!("cannot lock {shown}: {error}"),
        }
    }
}

/// Whether anything listens at `address`, etcd or not. Waits up to 1 s for a connection.
///
/// # Errors
///
/// This machine cannot connect to itself.
fn is_taken(address: SocketAddr) -> Result<bool> {
    let Err(error) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return Ok(true);
    };
    let is_down = "the network of this machine is down: start loopback with `ip link set lo up`";
    let advice = match error.kind() {
        ErrorKind::ConnectionRefused => return Ok(false),
        ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable => Some(is_down),
        _ => limit(&error),
    };
    match advice {
        Some(advice) => bail!("cannot connect to {address}: {error}; {advice}"),
        None => Ok(true),
    }
}
