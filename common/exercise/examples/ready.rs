//! Checks whether this machine is ready for a lesson, and prints what is missing.
//!
//! ```text
//! cargo ready
//! ```
//!
//! It first builds all programs. That takes minutes and needs a network, but only once.

use std::env;
use std::io::{ErrorKind, Write, stdout};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::{Failover, REQUEST_TIMEOUT, connect_through, connect_to, no_argument, within};
use etcd_server::Server;
use exercise::root;
use tokio::task::spawn_blocking;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    no_argument(include_str!("ready.rs"));
    let checks = [
        spawn_blocking(programs).await?,
        own_etcd().await.context("cannot start an etcd on this machine"),
        chapters_etcd().await,
    ];
    for check in &checks {
        match check {
            Ok(what) => writeln!(stdout(), "ok       {what}")?,
            Err(error) => writeln!(stdout(), "missing  {error:#}")?,
        }
    }
    let ready = checks.iter().all(Result::is_ok);
    writeln!(stdout(), "{}", if ready { "ready" } else { "not ready" })?;
    Ok(ExitCode::from(u8::from(!ready)))
}

/// Builds everything that a lesson uses.
fn programs() -> Result<String> {
    let begin = Instant::now();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let status = cargo.args(["build", "--all-targets"]).current_dir(root()).status();
    ensure!(
        status.context("cannot run cargo")?.success(),
        "cannot build the programs: the error is above; if you can't fix it, work with a neighbor"
    );
    Ok(format!("all programs are built (just now in {} s)", begin.elapsed().as_secs()))
}

/// Starts a private etcd, as the exercises do, and uses it.
async fn own_etcd() -> Result<String> {
    let server = spawn_blocking(Server::start).await??;
    let mut client = connect_to([server.address().to_string()]).await?;
    within(REQUEST_TIMEOUT, client.put("testkey", "testvalues", None)).await?;
    let status = within(REQUEST_TIMEOUT, client.status()).await?;
    Ok(format!("etcd {} runs here", status.version()))
}

/// Connects to the etcd that the chapters use, unless the first chapter will start it.
async fn chapters_etcd() -> Result<String> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let named = variable("ETCDCTL_ENDPOINTS");
    let local = format!("127.0.0.1:{}", variable("ETCD_LOCAL_PORT").unwrap_or("2379".to_owned()));
    // `connect_through` explains what is wrong with a port that doesn't parse.
    if let (None, Ok(local)) = (&named, local.parse::<SocketAddr>())
        && TcpStream::connect(local).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    {
        return Ok(format!("{local} is free: the first chapter starts an etcd there"));
    }
    connect_through(Failover::default()).await?;
    Ok(format!("the chapters use the etcd at {}", named.unwrap_or(local)))
}
