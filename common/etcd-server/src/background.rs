//! The etcd that runs in the background, for all chapters.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::launch::{
    POLL_INTERVAL, START_LIMIT, create_private, display, etcd_command, limit_advice, quoted, spawn,
    wait_until_serving,
};

/// Starts an etcd in the background if nothing listens at `address`, announces it on stderr, and
/// waits until it serves. Returns the id of its process, or `None` if there was nothing to start.
/// The etcd outlives this program.
///
/// Programs that call this at the same moment share one etcd. It keeps its data in
/// [`background_data`]. Its log has the same path with the ending `.log`, and the previous etcd's
/// log with `.log.old`.
///
/// # Errors
///
/// - The folder or the log can't be written, or the binary can't be started.
/// - Another etcd with this data has been starting or stopping for 30 s.
/// - etcd exits, or does not serve within [`START_LIMIT`]. The error quotes the reason from its
///   log.
pub fn find_or_start(address: SocketAddr) -> Result<Option<u32>> {
    if is_taken(address)? {
        return Ok(None);
    }
    let data = background_data(address);
    let folder = data.with_file_name("");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let Some(lock) = take_turn(address, &data.with_extension("lock"))? else {
        return Ok(None); // another program was faster
    };
    let log = data.with_extension("log");
    let _ = fs::rename(&log, data.with_extension("log.old")); // there may be no log
    let store = data.exists().then(|| quoted(display(&data)));

    let mut command = etcd_command(&data, "http", address, &log)?;
    // etcd inherits the file, and on Unix the lock on it. So no program starts a second etcd while
    // this etcd starts without its program, which may have been killed, or while it stops, which
    // may take 7 s, its grace period for open watches.
    command.stdin(lock);
    // Ctrl-C, and closing the terminal, would end etcd: they signal the process group of the
    // program in the foreground. So etcd gets another group.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        &mut command,
        0x0000_0208, // CREATE_NEW_PROCESS_GROUP | DETACHED_PROCESS
    );
    eprintln!("starting etcd at {address}, with its data in {}", display(&data));
    // etcd would inherit any pipe of this program and keep it open, so that `… | cat` never ended.
    #[cfg(unix)]
    close_fds::set_fds_cloexec(3, &[]);
    let mut etcd = spawn(&mut command)?;
    let stop = if cfg!(windows) { "taskkill /f /pid" } else { "kill" };
    eprintln!("it keeps running; stop it with: {stop} {}", etcd.id());
    wait_until_serving(&mut etcd, &log, store.as_deref())
        .map_err(|error| anyhow!("{error}; the log of etcd is {}", display(&log)))?;
    Ok(Some(etcd.id()))
}

/// Returns where the background etcd at `address` keeps its data: the folder `etcd` in cargo's
/// target folder, or `etcd-PORT` for another port than 2379.
///
/// A program outside of any target folder keeps its data in `.etcd-by-example` in the home folder
/// of this account, because the folder for temporary files belongs to all accounts.
pub fn background_data(address: SocketAddr) -> PathBuf {
    let home = || env::home_dir().map(|home| home.join(".etcd-by-example"));
    let target = target_folder().or_else(home).unwrap_or_else(env::temp_dir);
    match address.port() {
        2379 => target.join("etcd"),
        port => target.join(format!("etcd-{port}")),
    }
}

/// Returns cargo's target folder that contains this program, even if the folder was moved.
pub fn target_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    // Cargo marks a target folder that it creates, for programs that make backups. It doesn't mark
    // a folder that existed before, but it always locks the folder of a profile, such as `debug`.
    let is_marked = |folder: &&Path| folder.join("CACHEDIR.TAG").exists();
    let marked = program.ancestors().find(is_marked);
    let profile = || program.ancestors().find(|folder| folder.join(".cargo-lock").exists());
    let target = marked.or_else(|| profile()?.parent())?;
    // A build for a named platform (`--target`) has a marked folder of its own in the target
    // folder.
    Some(target.parent().filter(is_marked).unwrap_or(target).to_owned())
}

/// Waits for this program's turn to start a server. The turn ends when the returned file is closed.
/// Returns `None` if another program has started a server in the meantime.
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
/// This machine can't connect to itself.
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
        _ => limit_advice(&error),
    };
    match advice {
        Some(advice) => bail!("cannot connect to {address}: {error}; {advice}"),
        None => Ok(true),
    }
}
