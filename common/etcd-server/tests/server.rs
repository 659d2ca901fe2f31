//! What a private server promises.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{park, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use etcd_server::Server;

#[tokio::test]
async fn keeps_its_data_over_a_restart_and_is_gone_when_dropped() -> Result<()> {
    let mut etcd = Server::start()?;
    let (address, data) = (etcd.address(), etcd.data());
    Client::connect([etcd.endpoint()], None).await?.put("key", "value", None).await?;
    etcd.restart()?;
    let found = Client::connect([etcd.endpoint()], None).await?.get("key", None).await?;
    ensure!(found.count() == 1 && etcd.address() == address);
    drop(etcd);
    ensure!(TcpStream::connect(address).is_err() && !data.exists());
    Ok(())
}

#[cfg(unix)]
#[test]
fn is_gone_when_its_program_is_killed() -> Result<()> {
    let mut program = Command::new(env::current_exe()?)
        .args(["program_with_a_server", "--exact", "--ignored", "--nocapture"])
        .env("HAS_A_SERVER", "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(program.stdout.take().context("no stdout")?).lines();
    let server = lines.find_map(|line| Some(line.ok()?.strip_prefix("server ")?.to_owned()));
    program.kill()?;
    program.wait()?;
    let server = server.context("it has started no server")?;
    let words: Vec<&str> = server.splitn(3, ' ').collect();
    let [process, address, data] = words[..] else { panic!("{server}") };

    let (address, begin) = (address.parse::<SocketAddr>()?, Instant::now());
    while TcpStream::connect(address).is_ok() || Path::new(data).exists() {
        if begin.elapsed() > Duration::from_secs(10) {
            Command::new("sh").args(["-c", &format!("kill -9 {process}")]).status()?;
            panic!("process {process} is still there, or {data}");
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Runs in a process that the test above has started.
#[test]
#[ignore = "is a program for another test to kill"]
fn program_with_a_server() -> Result<()> {
    if env::var_os("HAS_A_SERVER").is_none() {
        return Ok(());
    }
    let etcd = Server::start()?;
    println!("server {} {} {}", etcd.id(), etcd.address(), etcd.data().display());
    loop {
        park();
    }
}
