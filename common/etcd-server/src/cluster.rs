//! Private etcd servers that form a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use etcd_client::{Client, ConnectOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::launch::{POLL_INTERVAL, START_LIMIT};
use crate::server::{Server, temporary_folder, to_owned_all};

/// A private cluster, usually of three members. It works as long as a majority of them does.
pub struct Cluster {
    /// The remaining members. A program may remove a member.
    pub members: Vec<Server>,
    /// The options with which [`leader`](Cluster::leader) connects. Once the cluster has users, the
    /// options must name a user.
    pub options: ConnectOptions,
}

impl Cluster {
    /// Starts the members and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start() -> Result<Cluster> {
        Cluster::start_with(&[])
    }

    /// Starts a cluster with further flags for every member, such as `--election-timeout=500`
    /// (milliseconds).
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start_with(flags: &[&str]) -> Result<Cluster> {
        Cluster::start_in(temporary_folder()?, 3, flags, ConnectOptions::new())
    }

    /// Starts a cluster of `members` members.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start_of(members: usize) -> Result<Cluster> {
        Cluster::start_in(temporary_folder()?, members, &[], ConnectOptions::new())
    }

    /// Starts a cluster with TLS. Its members have a certificate for 127.0.0.1. If `clients`, they
    /// also demand a client certificate. [`file`](Cluster::file) returns the client's files.
    ///
    /// # Errors
    ///
    /// As [`Server::start`], or the certificates cannot be written.
    #[cfg(feature = "tls")]
    pub fn start_secure(clients: bool) -> Result<Cluster> {
        use std::fs;

        use etcd_client::{Certificate, Identity, TlsOptions};

        let folder = temporary_folder()?;
        crate::certificates::make(folder.path())?;
        // Relative paths, because the members run in that folder.
        let mut flags = vec!["--cert-file=server.pem", "--key-file=server.key"];
        if clients {
            flags.extend(["--client-cert-auth", "--trusted-ca-file=ca.pem"]);
        }
        let read = |name| fs::read(folder.path().join(name));
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")?))
            .identity(Identity::from_pem(read("client.pem")?, read("client.key")?));
        let options = ConnectOptions::new().with_tls(tls);
        Cluster::start_in(folder, 3, &flags, options)
    }

    /// Returns the path of a file of a cluster with TLS: `ca.pem`, the CA certificate of the
    /// members; `client.pem` and `client.key`, a client certificate and its key; `other.pem`, the
    /// certificate of a CA that signed neither.
    pub fn file(&self, name: &str) -> PathBuf {
        self.members[0].folder.path().join(name)
    }

    fn start_in(
        folder: TempDir,
        members: usize,
        flags: &[&str],
        options: ConnectOptions,
    ) -> Result<Cluster> {
        let names: Vec<_> = (0..members).map(|number| format!("m{number}")).collect();
        // Members must know each other's addresses before any of them runs. Another program could
        // take a port before the member does, but not a socket in the members' folder. etcd demands
        // a port even here, so there is a meaningless 0.
        let peer = |name: &str| format!("unix://{name}:0");
        let all: Vec<_> = names.iter().map(|name| format!("{name}={}", peer(name))).collect();
        let all = all.join(",");
        let folder = Arc::new(folder);
        let spawn = |name: &String| {
            let own = [
                format!("--name={name}"),
                format!("--listen-peer-urls={}", peer(name)),
                format!("--initial-advertise-peer-urls={}", peer(name)),
                format!("--initial-cluster={all}"),
            ];
            Server::spawn(&folder, name, own.into_iter().chain(to_owned_all(flags)).collect())
        };
        let mut members = names.iter().map(spawn).collect::<Result<Vec<_>>>()?;
        // Start all members before waiting for any: none serves until a majority runs.
        members.iter_mut().try_for_each(Server::wait)?;
        Ok(Cluster { members, options })
    }

    /// Returns the endpoints of all members, separated by commas.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(Server::endpoint).collect::<Vec<_>>().join(",")
    }

    /// Waits until the members have a leader. Returns its index in `members`.
    ///
    /// # Errors
    ///
    /// They have no leader within [`START_LIMIT`].
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let mut latest = None;
            for (index, member) in self.members.iter().enumerate() {
                // A member that was frozen may still believe that it leads, but in an earlier term.
                latest = latest.max(self.term_led_by(member).await.map(|term| (term, index)));
            }
            if let Some((_, index)) = latest {
                return Ok(index);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        bail!("cannot find the leader of the cluster: no member leads after {START_LIMIT:?}")
    }

    /// Returns the term in which `member` believes that it leads, if it does.
    async fn term_led_by(&self, member: &Server) -> Option<u64> {
        let ask = async {
            let options = Some(self.options.clone());
            let mut client = Client::connect([member.endpoint()], options).await?;
            client.status().await
        };
        // A frozen member does not respond, and a killed one refuses the connection.
        let status = timeout(Duration::from_secs(1), ask).await.ok()?.ok()?;
        let leads = status.leader() == status.header()?.member_id();
        leads.then(|| status.raft_term())
    }
}
