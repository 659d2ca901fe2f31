//! Runs a cluster for experiments, until Ctrl-C. Prints the variables that another terminal needs,
//! and which member leads.
//!
//! ```text
//! cargo run -p etcd-server                                 three members
//! cargo run -p etcd-server -- user                         with a user
//! cargo run -p etcd-server --features tls -- tls user      with a user and TLS
//! ```

#[allow(dead_code)] // the chapters use more of it
#[path = "../../src/argument.rs"]
mod argument; // not from `common`, because `common` depends on this crate

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::Client;
use etcd_server::{Cluster, add_users, quoted};
use tokio::signal::ctrl_c;
use tokio::time::{sleep, timeout};

use argument::{cannot_use, words};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words = words(include_str!("main.rs"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => cluster(false, false).await,
        ["user"] => cluster(false, true).await,
        ["tls"] => cluster(true, false).await,
        ["tls", "user"] | ["user", "tls"] => cluster(true, true).await,
        _ => cannot_use(&words.join(" "), "cargo run -p etcd-server -- [user | tls | tls user]"),
    }
}

/// Runs a cluster of three members, until Ctrl-C.
async fn cluster(tls: bool, user: bool) -> Result<()> {
    let mut cluster = if tls { start_secure()? } else { Cluster::start()? };
    // A chapter uses the first healthy endpoint. Make that the leader, so that killing the leader
    // has an effect.
    let leader = cluster.leader().await?;
    cluster.members.swap(0, leader);

    writeln!(stdout(), "export ETCDCTL_ENDPOINTS={}", cluster.endpoints())?;
    if tls {
        for (variable, file) in
            [("CACERT", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")]
        {
            writeln!(stdout(), "export ETCDCTL_{variable}={}", quoted(cluster.file(file)))?;
        }
    }
    if user {
        let options = cluster.options.clone();
        let mut client = Client::connect([cluster.members[0].endpoint()], Some(options)).await?;
        add_users(&mut client).await.context("cannot add users")?;
        cluster.options = cluster.options.with_user("root", "secret");
        writeln!(stdout(), "export ETCDCTL_USER=anna:secret")?;
    }
    tokio::select! {
        pressed = ctrl_c() => Ok(pressed?),
        ended = report(&mut cluster) => ended,
    }
}

#[cfg(feature = "tls")]
fn start_secure() -> Result<Cluster> {
    Cluster::start_secure(true)
}

#[cfg(not(feature = "tls"))]
fn start_secure() -> Result<Cluster> {
    let words = words(include_str!("main.rs")).join(" ");
    anyhow::bail!(
        "cannot use TLS: this program was built without TLS; \
         type: cargo run -p etcd-server --features tls -- {words}"
    )
}

/// Prints each new leader and each member that has ended, forever.
async fn report(cluster: &mut Cluster) -> Result<()> {
    let mut last = None;
    loop {
        // The members elect a leader when they have not heard of the old one for 1 to 2 s.
        let leader = match timeout(Duration::from_secs(5), cluster.leader()).await {
            Ok(leader) => Some(cluster.members[leader?].id()),
            Err(_) => None,
        };
        match leader {
            Some(process) if leader != last => {
                writeln!(stdout(), "process {process} leads; kill it with: kill -9 {process}")?;
            }
            Some(_) => {}
            None => writeln!(
                stdout(),
                "no leader: {} of 3 members is not a majority",
                cluster.members.len()
            )?,
        }
        last = leader;
        let ended = loop {
            match cluster.members.iter_mut().position(|member| !member.is_running()) {
                Some(ended) => break cluster.members.remove(ended),
                None => sleep(Duration::from_millis(100)).await,
            }
        };
        writeln!(stdout(), "process {} has ended", ended.id())?;
    }
}
