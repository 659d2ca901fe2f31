//! Launching one etcd, and waiting until it serves.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long an etcd may take from its start until it serves: 15 s.
pub const START_LIMIT: Duration = Duration::from_secs(15);

/// How often a condition is checked while waiting for it.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the command for one etcd on loopback. With port 0 the system picks the port.
pub(crate) fn etcd(data: &Path, scheme: &str, address: SocketAddr, log: &Path) -> Result<Command> {
    let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let client = format!("{scheme}://{address}");
    let peer = "http://127.0.0.1:0";
    let mut command = Command::new(binary());
    command
        .args(["--name", "etcd", "--initial-cluster", &format!("etcd={peer}")])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--logger", "zap", "--log-outputs", "stderr"])
        // The JSON gateway would connect to port 0.
        .arg("--enable-grpc-gateway=false")
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // etcd also reads each flag from the environment, and exits if it is given twice.
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_"))
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// Returns the path in `ETCD`, or else the bundled binary. Where none is bundled for the platform it
/// is the `etcd` on the `PATH`.
fn binary() -> OsString {
    match env::var_os("ETCD") {
        // A private etcd runs in another folder, where a relative path would mean something else.
        Some(path) if Path::new(&path).components().count() > 1 => {
            std::path::absolute(&path).map_or(path, |path| path.into())
        }
        Some(path) if !path.is_empty() => path,
        _ => etcd_bin_vendored::etcd_bin_path().map_or("etcd".into(), |path| path.into()),
    }
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| {
        let program = command.get_program().display();
        match env::var_os("ETCD").filter(|path| !path.is_empty()) {
            Some(_) => format!("cannot start {program}, which ETCD names; unset it, or correct it"),
            None => format!("cannot start {program}; set ETCD to the path of an etcd"),
        }
    })
}

/// Waits until the log of an etcd says that it serves. Returns the log.
pub(crate) fn wait_until_serving(etcd: &mut Child, data: &Path, log: &Path) -> Result<String> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        // Before the log is read: all that an etcd writes before its end is then there.
        let ended = etcd.try_wait()?;
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if serving(&text).is_some() {
            return Ok(text);
        }
        let end = match ended {
            Some(status) => format!("ended with {status}"),
            None if Instant::now() < deadline => {
                sleep(POLL_INTERVAL);
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

/// Returns the address in the log line that etcd writes when it begins to serve.
pub(crate) fn serving(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving client traffic"))?;
    field(line, "address")?.parse().ok()
}

/// Returns the first text field of that name in a log of JSON lines.
pub(crate) fn field<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = log.split_once(&format!("\"{name}\":\""))?;
    Some(rest.split_once('"')?.0)
}

/// Returns the last three lines of a log, without stack traces, and shortened to 400 characters.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(3)..].iter().map(|line| {
        let line = line.split(",\"stacktrace\"").next().unwrap_or(line);
        line.chars().take(400).collect::<String>()
    });
    last.collect::<Vec<_>>().join("\n")
}

/// Returns the path relative to the current folder if it is below that.
pub(crate) fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
