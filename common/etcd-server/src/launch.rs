//! Launching one etcd, and waiting until it serves.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long etcd may take to start serving: 15 s.
pub const START_LIMIT: Duration = Duration::from_secs(15);

/// How often a condition is checked while waiting for it.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the command that runs one etcd on loopback. With port 0 the system picks the port.
pub(crate) fn etcd_command(
    data: &Path,
    scheme: &str,
    address: SocketAddr,
    log: &Path,
) -> Result<Command> {
    let log = create_private(log).with_context(|| format!("cannot write {}", log.display()))?;
    let client = format!("{scheme}://{address}");
    let peer = "http://127.0.0.1:0";
    // With the whole environment, any `ETCD_…` variable would become a flag of etcd, and the
    // members of a cluster would talk to each other through an HTTP proxy.
    let mut command = bare_command(binary());
    command
        .args(["--name", "etcd", "--initial-cluster", &format!("etcd={peer}")])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--logger", "zap", "--log-outputs", "stderr"])
        // If the system picks the port, the JSON gateway would try to connect to port 0.
        .arg("--enable-grpc-gateway=false")
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Returns a command whose environment has only what every program needs, and `ETCD`. How a server
/// or a test runs must not depend on anything else that a user has exported.
pub fn bare_command(program: impl AsRef<OsStr>) -> Command {
    const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "ETCD", "SystemRoot", "TEMP"];
    let mut command = Command::new(program);
    command.env_clear();
    for name in INHERITED {
        command.envs(env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Creates a file that only this account can read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the path in `ETCD`, or else the path of the bundled binary. If none is bundled for this
/// platform, returns `etcd`, which the system looks up on the `PATH`.
fn binary() -> OsString {
    match env::var_os("ETCD") {
        // Absolute, because a private etcd runs in another folder.
        Some(path) if Path::new(&path).components().count() > 1 => {
            std::path::absolute(&path).map_or(path, |path| path.into())
        }
        Some(path) if !path.is_empty() => path,
        _ => etcd_bin_vendored::etcd_bin_path().map_or("etcd".into(), |path| path.into()),
    }
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|error| {
        let program = command.get_program().display();
        let named = env::var_os("ETCD").is_some_and(|path| !path.is_empty());
        let text = match limit_advice(&error) {
            Some(limit) => format!("cannot start {program}: {limit}"),
            None if named => {
                format!("cannot start {program}, which ETCD names; correct or unset ETCD")
            }
            None => format!("cannot start {program}; set ETCD to the path of an etcd"),
        };
        anyhow::Error::new(error).context(text)
    })
}

/// Returns what to do if `error` comes from a limit of the system.
pub(crate) fn limit_advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        // ENFILE and EMFILE.
        Some(23 | 24) if cfg!(unix) => {
            Some("too many files are open; raise the limit with `ulimit -n`")
        }
        _ if error.kind() == io::ErrorKind::WouldBlock => {
            Some("too many processes run; raise the limit with `ulimit -u`")
        }
        _ => None,
    }
}

/// Waits until the log of `etcd` says that it serves. Returns the log. `store` is the path of the
/// data that existed before the start, if any.
pub(crate) fn wait_until_serving(
    etcd: &mut Child,
    log: &Path,
    store: Option<&str>,
) -> Result<String> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        // Look at the process before the log. If it has ended, the log is then complete.
        let ended = etcd.try_wait()?;
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if serving(&text).is_some() {
            return Ok(text);
        }
        let program = binary();
        let program = program.display();
        let end = match ended {
            Some(status) => format!("cannot start {program}: etcd ended with {status}"),
            None if Instant::now() < deadline => {
                sleep(POLL_INTERVAL);
                continue;
            }
            None => {
                etcd.kill()?;
                etcd.wait()?;
                format!("cannot start {program}: etcd does not serve after {START_LIMIT:?}")
            }
        };
        bail!("{end}: {}", explain(&text, store));
    }
}

/// Returns the address from the log line that etcd writes when it begins to serve.
pub(crate) fn serving(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving client traffic"))?;
    field(line, "address")?.parse().ok()
}

/// Returns the first text field called `name` in a JSON log line, with `'` for each `\"` in it.
fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    let rest = rest.replace(r#"\""#, "'");
    Some(rest.split_once('"')?.0.to_owned())
}

/// Returns the reason why etcd does not serve, in the words of its log, and what to do.
fn explain(log: &str, store: Option<&str>) -> String {
    let has = |words: &[&str]| words.iter().any(|words| log.contains(words));
    let advice = if has(&["no space left on device", "disk quota exceeded"]) {
        "the disk is full; make room for the 130 MB that etcd takes".to_owned()
    } else if has(&["address already in use"]) {
        "another program uses that port; stop that program, or choose another port".to_owned()
    } else if has(&["cannot allocate memory", "failed to reserve", "out of memory"]) {
        "memory is limited, but etcd reserves 10 GB of addresses; see `ulimit -v`".to_owned()
    } else if has(&["flocked by another process"]) {
        "another etcd may use this data; stop that etcd".to_owned()
    } else if let Some(store) = store
        && (has(&OTHER_VERSION) || has(&["panic", "wal: ", "walpb: "]))
    {
        let cause = match has(&OTHER_VERSION) {
            true => "another version of etcd wrote this data; set ETCD to the path of that version",
            false => "the data may be damaged",
        };
        format!("{cause}; to discard the data and start over: rm -r {store}")
    } else if !log.ends_with('\n') {
        // If the disk is full, etcd can't write why it ends.
        "the disk may be full, because the log is cut short; etcd takes 130 MB".to_owned()
    } else {
        return reason(log);
    };
    format!("{} ({advice})", reason(log))
}

/// The words of etcd 3.4 to 3.7 about data that another version wrote.
const OTHER_VERSION: [&str; 4] = [
    "invalid downgrade",
    "unmarshal should never fail",
    "unsupported storage version",
    r#"\" is not supported"#,
];

/// Returns the reason for which etcd ended from its log: the message, the error and the panic of
/// the line that matters, at most 400 characters.
fn reason(log: &str) -> String {
    let find = |start: &str| log.lines().find(|line| line.starts_with(start));
    let line = find("{\"level\":\"fatal\"")
        .or_else(|| find("{\"level\":\"panic\""))
        .or_else(|| find("panic: ")) // Go's own words, before the stack
        .or_else(|| find("fatal error: "))
        .or_else(|| log.lines().rfind(|line| line.starts_with('{')))
        .or_else(|| log.lines().next())
        .unwrap_or("the log is empty");
    let fields: Vec<_> =
        ["msg", "error", "panic"].iter().filter_map(|name| field(line, name)).collect();
    let text = if fields.is_empty() { line.to_owned() } else { fields.join(": ") };
    text.chars().take(400).collect()
}

/// Returns a path for a message: relative to the current folder if it is below that folder.
pub(crate) fn display(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Returns a path that can be pasted into a shell: in quotes if the shell would change it.
pub fn quoted(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().display().to_string();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-".contains(char);
    match path.starts_with('-') || !path.chars().all(is_plain) {
        true => format!("'{}'", path.replace('\'', r"'\''")),
        false => path,
    }
}
