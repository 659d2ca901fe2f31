//! A redis for this program alone.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etcd_server::{Process, bare_command, free_address};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::LOOK;
use crate::client::Client;

/// How long a redis may take until it serves, a replica until it has the data, and sentinels until they
/// know each other.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The oldest version that was tried.
const OLDEST: [u32; 2] = [6, 2];

const INSTALL: &str = "install it (Debian and Ubuntu: sudo apt-get install -y redis-server; \
    Fedora: sudo dnf install -y valkey; Arch: sudo pacman -S --needed valkey; \
    macOS: brew install valkey), or set REDIS to the path of a redis-server or valkey-server";

/// What a redis writes to disk before it answers: each change.
pub const ON_DISK: &str = "appendonly yes\nappendfsync always";

/// A private redis, with its own folder and port. Dropping it ends the server and removes the folder. Both
/// happen, too, if this program is killed.
pub struct Redis {
    process: Process,
    pub address: SocketAddr,
    folder: TempDir,
    /// For sentinels.
    mode: Option<&'static str>,
}

impl Redis {
    /// Starts one with these lines in its `redis.conf`, and waits until it serves. It writes nothing to
    /// disk unless they say so.
    pub async fn start(config: &str) -> Result<Redis> {
        // A replica need not wait for others that may come.
        let config = format!("save \"\"\nrepl-diskless-sync-delay 0\n{config}\n");
        Redis::launch(&config, None).await
    }

    /// Starts a replica of the server at `primary`, and waits until it has the data.
    pub async fn replica_of(primary: SocketAddr) -> Result<Redis> {
        let config = format!("replicaof {} {}", primary.ip(), primary.port());
        let replica = Redis::start(&config).await?;
        replica.until("master_link_status:up").await?;
        Ok(replica)
    }

    /// Starts a sentinel that watches the server at `primary`. Two sentinels together can replace that.
    pub async fn sentinel(primary: SocketAddr) -> Result<Redis> {
        let config = format!(
            "sentinel monitor lock {} {} 2\n\
             sentinel down-after-milliseconds lock 1000\n\
             sentinel failover-timeout lock 3000\n", // then they vote again if none has won
            primary.ip(),
            primary.port()
        );
        Redis::launch(&config, Some("--sentinel")).await
    }

    async fn launch(config: &str, mode: Option<&'static str>) -> Result<Redis> {
        for _ in 0..10 {
            let (folder, address) = (tempfile::tempdir()?, free_address()?);
            let own = format!("bind {}\nport {}\nlogfile log\n", address.ip(), address.port());
            fs::write(folder.path().join("redis.conf"), own + config)?;
            let process = Process::adopt(spawn(folder.path(), mode)?, folder.path())?;
            let mut redis = Redis { process, address, folder, mode };
            match redis.serves().await {
                // Another server that was just starting has taken the port.
                Err(error) if error.to_string().contains("Failed listening") => {}
                served => return served.map(|()| redis),
            }
        }
        bail!("no port was free in ten attempts")
    }

    /// Kills the server, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed server again, with what it has on disk.
    pub async fn restart(&mut self) -> Result<()> {
        let folder = self.folder.path();
        self.process = Process::adopt(spawn(folder, self.mode)?, folder)?;
        self.serves().await
    }

    pub async fn client(&self, name: &'static str) -> Result<Client> {
        Client::connect(name, self.address).await
    }

    /// Waits until its `INFO` has this text.
    pub async fn until(&self, says: &str) -> Result<()> {
        let begin = Instant::now();
        let mut client = self.client("").await?;
        while !client.ask("INFO").await?.contains(says) {
            ensure!(begin.elapsed() < START_LIMIT, "redis is not {says} after {START_LIMIT:?}");
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until it serves. Another server at its port does not count.
    async fn serves(&mut self) -> Result<()> {
        let begin = Instant::now();
        let own = format!("process_id:{}\r", self.process.id());
        loop {
            if let Ok(mut client) = self.client("").await
                && client.ask("INFO server").await.is_ok_and(|info| info.contains(&own))
            {
                return Ok(());
            }
            let end = match self.process.is_running() {
                false => "has ended".to_owned(),
                true if begin.elapsed() > START_LIMIT => format!("does not serve {START_LIMIT:?}"),
                true => {
                    sleep(LOOK).await;
                    continue;
                }
            };
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.is_empty()).unwrap_or("its log is empty");
            bail!("{} {end}: {last}", binary().display());
        }
    }
}

/// Returns what the server calls itself, such as `redis 7.0.15`.
///
/// # Errors
///
/// There is none, or it is older than [`OLDEST`].
pub fn version() -> Result<String> {
    let output = bare_command(binary()).arg("--version").stderr(Stdio::null()).output();
    let output = output.map_err(how_to_install)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let name = if text.starts_with("Valkey") { "valkey" } else { "redis" };
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let version = version.with_context(|| {
        format!("{} is no redis: its --version says {:?}", binary().display(), text.trim())
    })?;
    let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
    let [major, minor] = OLDEST;
    ensure!(
        numbers[..] >= OLDEST[..],
        "{} is {name} {version}; this lab needs redis {major}.{minor} or later, or any valkey",
        binary().display()
    );
    Ok(format!("{name} {version}"))
}

fn spawn(folder: &Path, mode: Option<&str>) -> Result<Child> {
    let mut command = bare_command(binary());
    command.arg("redis.conf").args(mode).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(how_to_install)
}

/// Returns the path in `REDIS`, or else the first of these names that is on the `PATH`.
fn binary() -> OsString {
    let on_path = |name: &&str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    match named() {
        // A server runs in another folder, where a relative path would mean something else.
        Some(path) if Path::new(&path).components().count() > 1 => {
            std::path::absolute(&path).map_or(path, OsString::from)
        }
        Some(path) => path,
        None => ["redis-server", "valkey-server"]
            .iter()
            .find(|name| on_path(name))
            .map_or("redis-server", |name| name)
            .into(),
    }
}

fn named() -> Option<OsString> {
    env::var_os("REDIS").filter(|path| !path.is_empty())
}

fn how_to_install(error: io::Error) -> anyhow::Error {
    let program = binary();
    let program = program.display();
    match named() {
        Some(_) => anyhow::anyhow!(
            "cannot start {program}, which REDIS names: {error}; unset it, or correct it"
        ),
        None => anyhow::anyhow!("cannot start {program}: {error}; {INSTALL}"),
    }
}
