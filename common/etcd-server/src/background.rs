//! The etcd in the background that the chapters share.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::launch::{POLL_INTERVAL, START_LIMIT, etcd, field, shown, spawn, wait_until_serving};

/// Starts an etcd in the background if nothing listens at `address`, waits until
/// it serves, says so on stderr and returns the number of its process. It
/// outlives this program.
///
/// Programs that call this at the same moment end up with one server. The data
/// is kept in `target/etcd` (for another port than 2379 in `target/etcd-PORT`),
/// the log in `target/etcd.log`.
///
/// # Errors
///
/// The binary cannot be started, it exits (with the end of its log), it does not
/// serve within [`START_LIMIT`], or the data is another etcd's.
pub fn find_or_start(address: SocketAddr) -> Result<Option<u32>> {
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
    // A process group of its own: Ctrl-C in the terminal, and closing it, are
    // sent to the group of the program in the foreground.
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
    eprintln!(
        "started etcd {version} at {address} (process {id}, data in {data}); \
         it keeps running, stop it with: {stop} {id}",
        id = etcd.id(),
        data = shown(&data),
    );
    Ok(Some(etcd.id()))
}

/// Where the background server for `address` keeps its data.
pub fn background_data(address: SocketAddr) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map_or("target".into(), |root| root.join("target"));
    match address.port() {
        2379 => target.join("etcd"),
        port => target.join(format!("etcd-{port}")),
    }
}

/// Waits for this program's turn to start a server; the turn ends with the file.
fn take_turn(path: &Path) -> Result<File> {
    let shown = path.display();
    let file = File::create(path).with_context(|| format!("cannot write {shown}"))?;
    let deadline = Instant::now() + 2 * START_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL_INTERVAL),
            Err(TryLockError::WouldBlock) => {
                bail!("another program has been starting an etcd for long (it holds {shown})")
            }
            Err(TryLockError::Error(error)) => bail!("cannot lock {shown}: {error}"),
        }
    }
}

/// Waits until no etcd holds this data. A new one would wait for that without a
/// word and without an end. One that was told to stop holds it for up to 7 s more,
/// as long as it gives open watches to end.
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

/// Whether anything listens there, be it etcd or not.
pub fn is_taken(address: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
        Ok(_) => true,
    }
}
