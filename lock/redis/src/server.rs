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

use crate::POLL_INTERVAL;
use crate::client::Client;

/// How long to wait until a redis is ready, a replica has the data, or sentinels know each other.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The oldest version with which the lab was tested.
const OLDEST: [u32; 2] = [6, 2];

const INSTALL: &str = "install it (Debian and Ubuntu: sudo apt-get install -y redis-server; \
    Fedora: sudo dnf install -y valkey; Arch: sudo pacman -S --needed valkey; \
    macOS: brew install valkey), or set REDIS to the path of a redis-server or valkey-server";

/// Settings with which a redis writes every change to disk before it replies.
pub const ON_DISK: &str = "appendonly yes\nappendfsync always";

/// A private redis with its own folder and port. When it is dropped, or this program is killed, the
/// server ends and the folder is removed.
pub struct Redis {
    process: Process,
    pub address: SocketAddr,
    folder: TempDir,
    /// The option that makes the server a sentinel.
    mode: Option<&'static str>,
}

impl Redis {
    /// Starts a redis with these lines in its `redis.conf`, and waits until it is ready. It writes
    /// nothing to disk unless the lines say so.
    pub async fn start(config: &str) -> Result<Redis> {
        // Without this delay of 0, a replica waits for other replicas that may come.
        let config = format!("save \"\"\nrepl-diskless-sync-delay 0\n{config}\n");
        Redis::launch(&config, None).await
    }

    /// Starts a replica of the server at `primary`, and waits until it has the data.
    pub async fn replica_of(primary: SocketAddr) -> Result<Redis> {
        let config = format!("replicaof {} {}", primary.ip(), primary.port());
        let replica = Redis::start(&config).await?;
        replica.wait_for_info("master_link_status:up").await?;
        Ok(replica)
    }

    /// Starts a sentinel that watches the server at `primary`. Two sentinels can replace the
    /// primary.
    pub async fn sentinel(primary: SocketAddr) -> Result<Redis> {
        let config = format!(
            "sentinel monitor lock {} {} 2\n\
             sentinel down-after-milliseconds lock 1000\n\
             sentinel failover-timeout lock 3000\n", // after that, they vote again if none has won
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
            match redis.wait_until_ready().await {
                // Another program has taken the port in the meantime.
                Err(error) if error.to_string().contains("Failed listening") => {}
                result => return result.map(|()| redis),
            }
        }
        bail!("cannot start redis: no port was free in ten attempts; try again")
    }

    /// Kills the server, as in a crash.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed server again, with the data on its disk.
    pub async fn restart(&mut self) -> Result<()> {
        let folder = self.folder.path();
        self.process = Process::adopt(spawn(folder, self.mode)?, folder)?;
        self.wait_until_ready().await
    }

    pub async fn client(&self, name: &'static str) -> Result<Client> {
        Client::connect(name, self.address).await
    }

    /// Waits until the server's `INFO` contains this text.
    pub async fn wait_for_info(&self, text: &str) -> Result<()> {
        let begin = Instant::now();
        let mut client = self.client("").await?;
        while !client.ask("INFO").await?.contains(text) {
            ensure!(
                begin.elapsed() < START_LIMIT,
                "unexpected: INFO has no {text} after {START_LIMIT:?}"
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until this server replies. Another server at the same port doesn't count.
    async fn wait_until_ready(&mut self) -> Result<()> {
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
                true if begin.elapsed() > START_LIMIT => {
                    format!("is not ready after {START_LIMIT:?}")
                }
                true => {
                    sleep(POLL_INTERVAL).await;
                    continue;
                }
            };
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.is_empty()).unwrap_or("its log is empty");
            bail!("{} {end}: {last}", binary().display());
        }
    }
}

/// Returns the server's name and version, such as `redis 7.0.15`.
///
/// # Errors
///
/// No redis is installed, or it is older than [`OLDEST`].
pub fn version() -> Result<String> {
    let output = bare_command(binary()).arg("--version").stderr(Stdio::null()).output();
    let output = output.map_err(how_to_install)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let name = if text.starts_with("Valkey") { "valkey" } else { "redis" };
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let version = version.with_context(|| {
        format!("{} is not a redis: its --version prints {:?}", binary().display(), text.trim())
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

/// Returns the path in `REDIS`, or else `redis-server` or `valkey-server`, whichever is on the
/// `PATH`.
fn binary() -> OsString {
    let on_path = |name: &&str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    match from_environment() {
        // Make a relative path absolute, because the server runs in another folder.
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

fn from_environment() -> Option<OsString> {
    env::var_os("REDIS").filter(|path| !path.is_empty())
}

fn how_to_install(error: io::Error) -> anyhow::Error {
    let program = binary();
    let program = program.display();
    match from_environment() {
        Some(_) => anyhow::anyhow!(
            "cannot start {program}, which REDIS names: {error}; unset it, or correct it"
        ),
        None => anyhow::anyhow!("cannot start {program}: {error}; {INSTALL}"),
    }
}
