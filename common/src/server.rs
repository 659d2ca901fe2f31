//! Starting a real etcd: the one in the background that the chapters share, and
//! a private [`Server`], or three of them as a [`Cluster`], for tests and
//! measurements.

#[cfg(feature = "tls")]
mod certificates;
mod private;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use private::{Cluster, Frozen, Server, add_users, freeze};

/// How long an etcd may take from its start until it serves.
pub const START_LIMIT: Duration = Duration::from_secs(15);

/// How often a file or a process is looked at while waiting for it.
const LOOK: Duration = Duration::from_millis(10);

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
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    match address.port() {
        2379 => target.join("etcd"),
        port => target.join(format!("etcd-{port}")),
    }
}

/// The command for one etcd on loopback. Port 0 lets the system pick.
fn etcd(data: &Path, scheme: &str, address: SocketAddr, log: &Path) -> Result<Command> {
    let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let client = format!("{scheme}://{address}");
    let peer = "http://127.0.0.1:0";
    let mut command = Command::new(binary());
    command
        .args(["--name", "etcd", "--initial-cluster", &format!("etcd={peer}")])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--logger", "zap", "--log-outputs", "stderr"])
        // The JSON gateway would dial port 0.
        .arg("--enable-grpc-gateway=false")
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // etcd takes each flag from the environment too, and ends where both are given.
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_"))
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// `ETCD`, or the bundled binary, or on a platform without one the `etcd` on the `PATH`.
fn binary() -> OsString {
    match env::var_os("ETCD") {
        // A private etcd runs in a folder of its own.
        Some(path) if Path::new(&path).components().count() > 1 => {
            std::path::absolute(&path).map_or(path, |path| path.into())
        }
        Some(path) if !path.is_empty() => path,
        _ => etcd_bin_vendored::etcd_bin_path().map_or("etcd".into(), |path| path.into()),
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| {
        let program = command.get_program().display();
        match env::var_os("ETCD") {
            Some(_) => format!("cannot start {program}, which ETCD names; unset it, or correct it"),
            None => format!("cannot start {program}; set ETCD to the path of an etcd"),
        }
    })
}

/// Waits until the log of an etcd says that it serves, and returns the log.
fn wait_until_serving(etcd: &mut Child, data: &Path, log: &Path) -> Result<String> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if serving(&text).is_some() {
            return Ok(text);
        }
        let end = match etcd.try_wait()? {
            Some(status) => format!("ended with {status}"),
            None if Instant::now() < deadline => {
                sleep(LOOK);
                continue;
            }
            None => {
                etcd.kill()?;
                etcd.wait()?;
                format!("does not serve after {START_LIMIT:?}")
            }
        };
        bail!(
            "{} with data in {} {end}; its log, {}, ends:\n{}",
            binary().display(),
            shown(data),
            shown(log),
            last_lines(&text),
        );
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
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOK),
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
        sleep(LOOK);
    }
    Ok(())
}

/// Whether anything listens there, be it etcd or not.
pub(crate) fn is_taken(address: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
        Ok(_) => true,
    }
}

/// The address in the log line that etcd writes when it has begun to serve.
fn serving(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving client traffic"))?;
    field(line, "address")?.parse().ok()
}

/// The first text field of that name in a log of JSON lines.
fn field<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = log.split_once(&format!("\"{name}\":\""))?;
    Some(rest.split_once('"')?.0)
}

/// The last lines of a log, less the stack traces, and none longer than a few
/// lines of a terminal.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(3)..].iter().map(|line| {
        let line = line.split(",\"stacktrace\"").next().unwrap_or(line);
        line.chars().take(400).collect::<String>()
    });
    last.collect::<Vec<_>>().join("\n")
}

/// The path as seen from the current folder, where that is shorter.
fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
