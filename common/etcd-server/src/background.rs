//! The etcd in the background that the chapters share.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::launch::{POLL_INTERVAL, START_LIMIT, etcd, field, shown, spawn, wait_until_serving};

/// Starts an etcd in the background if nothing listens at `address`, and waits until it serves.
/// Prints a notice on stderr and returns the id of the process; returns `None` if there was nothing
/// to start. The etcd outlives this program.
///
/// Programs that call this at the same moment share one server. It keeps its data in
/// [`background_data`], and its log in the same place with the ending `.log`.
///
/// # Errors
///
/// - The folder or the log cannot be written, or the binary cannot be started.
/// - Another program has been starting an etcd for 30 s.
/// - Another etcd has used the data for 10 s, at another port.
/// - etcd exits, or does not serve within [`START_LIMIT`]. The error has the end of etcd's log.
pub fn find_or_start(address: SocketAddr) -> Result<Option<u32>> {
    if is_taken(address) {
        return Ok(None);
    }
    let data = background_data(address);
    let log = data.with_extension("log");
    let beside = data.with_file_name("");
    fs::create_dir_all(&beside).with_context(|| format!("cannot create {}", beside.display()))?;
    let _turn = take_turn(&data.with_extension("lock"))?;
    if is_taken(address) {
        return Ok(None); // another program had its turn first
    }
    wait_until_free(&data)?;

    let mut command = etcd(&data, "http", address, &log)?;
    // A process group of its own: Ctrl-C, and closing the terminal, signal the group of the
    // program in the foreground.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(
        &mut command,
        0x0000_0208, // CREATE_NEW_PROCESS_GROUP | DETACHED_PROCESS
    );
    let mut etcd = spawn(&mut command)?;
    let text = wait_until_serving(&mut etcd, &data, &log)?;

    let version = field(&text, "etcd-version").unwrap_or_default();
    let stop = if cfg!(windows) { "taskkill /f /pid" } else { "kill" };
    eprintln!("started etcd {version} at {address}, with its data in {}", shown(&data));
    eprintln!("it keeps running; stop it with: {stop} {}", etcd.id());
    Ok(Some(etcd.id()))
}

/// Returns where the background etcd at `address` keeps its data: the folder `etcd` in cargo's
/// target folder, or `etcd-PORT` for another port than 2379.
///
/// The target folder is the one that this program has been built in, wherever it is now. A program
/// outside of any has its data in the system's folder for temporary files.
pub fn background_data(address: SocketAddr) -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    // Cargo marks its target folder for programs that make backups.
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let target = target.map_or_else(env::temp_dir, Path::to_path_buf);
    match address.port() {
        2379 => target.join("etcd"),
        port => target.join(format!("etcd-{port}")),
    }
}

/// Waits for this program's turn to start a server. The turn ends when the file is dropped.
fn take_turn(path: &Path) -> Result<File> {
    let shown = path.display();
    let file = File::create(path).with_context(|| format!("cannot write {shown}"))?;
    let deadline = Instant::now() + 2 * START_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL_INTERVAL),
            Err(TryLockError::WouldBlock) => {
                bail!("another program has been starting an etcd for 30 s (it holds {shown})")
            }
            Err(TryLockError::Error(error)) => bail!("cannot lock {shown}: {error}"),
        }
    }
}

/// Waits until no etcd uses this data. A new etcd would wait for that silently and without a limit.
/// An etcd that was told to stop uses it for up to 7 s more, its grace period for open watches.
fn wait_until_free(data: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Ok(db) = File::open(data.join("member/snap/db"))
        && let Err(TryLockError::WouldBlock) = db.try_lock()
    {
        if Instant::now() > deadline {
            bail!("another etcd holds the data in {}, at some other port: stop it", shown(data));
        }
        sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Whether anything listens at `address`, etcd or not. Waits up to 1 s for a connection.
fn is_taken(address: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
        Ok(_) => true,
    }
}
