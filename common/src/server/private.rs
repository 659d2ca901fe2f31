//! An etcd for one program alone. It does not outlive that program, however that
//! ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use etcd_client::{Client, ConnectOptions, Permission};
use tempfile::TempDir;

#[cfg(feature = "tls")]
use crate::tls::{Files, with_tls};
use crate::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, plain_options, within};

use super::{LOOK, START_LIMIT, etcd, serving, spawn, wait_until_serving};

/// A private etcd, with data of its own and on a port the system picked.
/// Dropping it stops the server and removes the data.
pub struct Server {
    process: Process,
    address: SocketAddr,
    name: String,
    /// Added to the command line; of a flag given twice etcd takes the last.
    flags: Vec<String>,
    /// The last member of a cluster that is dropped removes it.
    folder: Arc<TempDir>,
}

impl Server {
    /// Starts an etcd and waits until it serves.
    ///
    /// # Errors
    ///
    /// As [`find_or_start`](super::find_or_start).
    pub fn start() -> Result<Server> {
        Server::start_with(&[])
    }

    /// The same with further flags, such as `--auth-token-ttl=1`.
    pub fn start_with(flags: &[&str]) -> Result<Server> {
        let mut server = Server::spawn(&Arc::new(temporary_folder()?), "etcd", owned(flags))?;
        server.wait()?;
        Ok(server)
    }

    /// Where clients reach it, as `ETCDCTL_ENDPOINTS` takes it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with `https://` if it speaks TLS.
    pub fn endpoint(&self) -> String {
        match scheme(&self.flags) {
            "http" => self.address.to_string(),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Whether its process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.etcd.try_wait(), Ok(None))
    }

    /// The number of its process, for signals.
    pub fn id(&self) -> u32 {
        self.process.etcd.id()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        files(&self.folder, &self.name).0
    }

    /// Ends the process at once, as a crash would. The data stays.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed server again, on the same data and at the same address.
    ///
    /// # Errors
    ///
    /// As [`find_or_start`](super::find_or_start).
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = run(&self.folder, &self.name, self.address, &self.flags)?;
        self.wait()
    }

    /// Stops the process where it stands, with its connections open, until what
    /// this returns is dropped.
    pub fn freeze(&self) -> Result<Frozen> {
        freeze(self.id())
    }

    fn spawn(folder: &Arc<TempDir>, name: &str, flags: Vec<String>) -> Result<Server> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Server {
            process: run(folder, name, address, &flags)?,
            address,
            name: name.to_owned(),
            flags,
            folder: Arc::clone(folder),
        })
    }

    fn wait(&mut self) -> Result<()> {
        let (data, log) = files(&self.folder, &self.name);
        let text = wait_until_serving(&mut self.process.etcd, &data, &log)?;
        self.address = serving(&text).context("the log names no address")?;
        Ok(())
    }
}

/// Three private etcd that form one cluster: it works as long as two of them do.
pub struct Cluster {
    pub members: Vec<Server>,
    /// How [`leader`](Cluster::leader) talks to them; to be changed when they have users.
    pub options: ConnectOptions,
}

impl Cluster {
    /// Starts the members and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// As [`find_or_start`](super::find_or_start).
    pub fn start() -> Result<Cluster> {
        Cluster::start_with(&[])
    }

    /// The same with further flags for every member, such as another
    /// `--election-timeout=500`.
    pub fn start_with(flags: &[&str]) -> Result<Cluster> {
        Cluster::start_in(temporary_folder()?, flags, plain_options())
    }

    /// The same with TLS: the members show a certificate for 127.0.0.1 and, if `clients`, want to
    /// see one too. [`file`](Cluster::file) says where the client's files are.
    #[cfg(feature = "tls")]
    pub fn start_secure(clients: bool) -> Result<Cluster> {
        let folder = temporary_folder()?;
        super::certificates::make(folder.path())?;
        // The members run in that folder.
        let mut flags = vec!["--cert-file=server.pem", "--key-file=server.key"];
        if clients {
            flags.extend(["--client-cert-auth", "--trusted-ca-file=ca.pem"]);
        }
        let path = |name| folder.path().join(name).display().to_string();
        let files =
            Files { ca: Some(path("ca.pem")), own: Some((path("client.pem"), path("client.key"))) };
        let options = with_tls(plain_options(), Some(files))?;
        Cluster::start_in(folder, &flags, options)
    }

    /// The path of a file of a secure cluster: `ca.pem`, who vouches for the members; `client.pem`
    /// and `client.key`, what a client shows; `other.pem`, somebody who vouches for nobody here.
    pub fn file(&self, name: &str) -> PathBuf {
        self.members[0].folder.path().join(name)
    }

    fn start_in(folder: TempDir, flags: &[&str], options: ConnectOptions) -> Result<Cluster> {
        let names = ["m0", "m1", "m2"];
        // Members must know each other's address before any of them runs. A
        // socket in the folder they run in is known, and nobody else can take it
        // as they could a port. The 0 means nothing, but etcd wants a port.
        let peer = |name| format!("unix://{name}:0");
        let all = names.map(|name| format!("{name}={}", peer(name))).join(",");
        let folder = Arc::new(folder);
        let spawn = |name| {
            let own = [
                format!("--name={name}"),
                format!("--listen-peer-urls={}", peer(name)),
                format!("--initial-advertise-peer-urls={}", peer(name)),
                format!("--initial-cluster={all}"),
            ];
            Server::spawn(&folder, name, own.into_iter().chain(owned(flags)).collect())
        };
        let mut members = names.into_iter().map(spawn).collect::<Result<Vec<_>>>()?;
        // Not one after the other: a member serves when it sees a majority.
        members.iter_mut().try_for_each(Server::wait)?;
        Ok(Cluster { members, options })
    }

    /// All addresses, as `ETCDCTL_ENDPOINTS` takes them.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(Server::endpoint).collect::<Vec<_>>().join(",")
    }

    /// Which of the members leads; waits until one does.
    ///
    /// # Errors
    ///
    /// No member leads within [`START_LIMIT`].
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let mut latest = None;
            for (index, member) in self.members.iter().enumerate() {
                // A member just thawed may still believe that it leads, in an
                // earlier term than the others'.
                latest = latest.max(self.term_led_by(member).await.map(|term| (term, index)));
            }
            if let Some((_, index)) = latest {
                return Ok(index);
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("no member leads after {START_LIMIT:?}")
    }

    /// The term in which this member says it leads.
    async fn term_led_by(&self, member: &Server) -> Option<u64> {
        let ask = async {
            let options = Some(self.options.clone());
            let mut client = Client::connect([member.endpoint()], options).await?;
            client.status().await
        };
        // A frozen member does not answer, and one that was killed refuses.
        let status = within(REQUEST_TIMEOUT, ask).await.ok()?;
        let leads = status.leader() == status.header()?.member_id();
        leads.then(|| status.raft_term())
    }
}

/// Gives an etcd users, all with the password `secret`: `anna`, who may use the keys of the
/// chapters and exercises and no others, and `root`, without whom etcd has none.
///
/// # Errors
///
/// As [`within`](crate::within).
pub async fn add_users(client: &mut Client) -> Result<()> {
    let requests = async {
        client.role_add("student").await?;
        for key in ["testkey", "foo"] {
            client.role_grant_permission("student", Permission::read_write(key)).await?;
        }
        for prefix in ["/my-lock/", "exercise/"] {
            let below = Permission::read_write(prefix).with_prefix();
            client.role_grant_permission("student", below).await?;
        }
        for (user, role) in [("root", "root"), ("anna", "student")] {
            client.user_add(user, "secret", None).await?;
            client.user_grant_role(user, role).await?;
        }
        client.auth_enable().await
    };
    within(CONNECT_TIMEOUT, requests).await?;
    Ok(())
}

/// Stops any process where it stands, until what this returns is dropped.
pub fn freeze(process: u32) -> Result<Frozen> {
    use std::io::Read as _;
    // The shell's own `kill`: a program of that name is not on every system. This
    // one waits until its input ends, so that nothing stays frozen for ever when
    // this program is killed.
    let script = r#"trap "" HUP INT TERM; kill -STOP "$0" && echo && read -r _; kill -CONT "$0""#;
    let mut shell = Command::new("sh")
        .args(["-c", script, &process.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stopped = shell.stdout.take().map(|mut output| output.read_exact(&mut [0]));
    let frozen = Frozen(shell);
    match stopped {
        Some(Ok(())) => Ok(frozen),
        _ => bail!("cannot freeze process {process}"),
    }
}

/// A process that stands still; it goes on when this is dropped.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A running etcd that does not outlive this program.
struct Process {
    etcd: Child,
    #[cfg(unix)]
    keeper: Child,
}

impl Process {
    fn kill(&mut self) -> Result<()> {
        #[cfg(unix)]
        {
            // First, so that it never kills by a number that is used again.
            self.keeper.kill()?;
            self.keeper.wait()?;
        }
        self.etcd.kill()?;
        self.etcd.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // it may have been killed already
    }
}

/// Runs a private etcd in `folder`; it does not serve yet.
fn run(folder: &TempDir, name: &str, address: SocketAddr, flags: &[String]) -> Result<Process> {
    let (data, log) = files(folder, name);
    let mut command = etcd(&data, scheme(flags), address, &log)?;
    let etcd = spawn(command.args(flags).current_dir(folder))?;
    #[cfg(unix)]
    let keeper = keep(&etcd, folder)?;
    Ok(Process {
        etcd,
        #[cfg(unix)]
        keeper,
    })
}

/// A shell that waits until this program ends: then, and not before, its input
/// ends. Nothing else would tell an etcd, and a killed program drops nothing.
#[cfg(unix)]
fn keep(etcd: &Child, folder: &TempDir) -> Result<Child> {
    let script = r#"trap "" HUP INT TERM; read -r _; kill -9 "$0"; rm -rf "$1""#;
    Ok(Command::new("sh")
        .args(["-c", script, &etcd.id().to_string()])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

fn scheme(flags: &[String]) -> &'static str {
    let secure = flags.iter().any(|flag| flag.starts_with("--cert-file="));
    if secure { "https" } else { "http" }
}

fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|&flag| flag.to_owned()).collect()
}

fn temporary_folder() -> Result<TempDir> {
    tempfile::tempdir().context("cannot create a temporary folder")
}

/// Where the etcd of that name has its data and its log.
fn files(folder: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let data = folder.path().join(name);
    let log = data.with_extension("log");
    (data, log)
}
