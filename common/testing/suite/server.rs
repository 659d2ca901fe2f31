//! The promises of a private server.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{park, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use etcd_server::Server;

#[tokio::test]
async fn a_server_keeps_its_data_until_dropped() -> Result<()> {
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
fn a_server_ends_with_its_killed_program() -> Result<()> {
    // Signals to the process alone, and to its whole group, as from a terminal. In the last round,
    // the program has already killed its server.
    for (kill, server) in [
        ("kill -KILL ", "yes"),
        ("kill -QUIT -", "yes"),
        ("kill -KILL -", "yes"),
        ("kill -KILL ", "killed"),
    ] {
        let mut program = program()?;
        program.env("HAS_A_SERVER", server).process_group(0).stdout(Stdio::piped());
        let mut program = program.spawn()?;
        let mut lines = BufReader::new(program.stdout.take().context("no stdout")?).lines();
        let server = lines.find_map(|line| Some(line.ok()?.strip_prefix("server ")?.to_owned()));
        sh(&format!("{kill}{}", program.id()))?;
        program.wait()?;
        let server = server.context("it has started no server")?;
        let words: Vec<&str> = server.splitn(3, ' ').collect();
        let [process, address, folder] = words[..] else { panic!("{server}") };

        let (address, begin) = (address.parse::<SocketAddr>()?, Instant::now());
        while TcpStream::connect(address).is_ok() || Path::new(folder).exists() {
            if begin.elapsed() > Duration::from_secs(10) {
                let _ = sh(&format!("kill -9 {process}")); // fails if it has ended
                fs::remove_dir_all(folder)?;
                panic!("after {kill}, process {process} is still there, or {folder}");
            }
            sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn no_server_is_started_without_a_watchdog() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let output = program()?.env("PATH", "").env("TMPDIR", temporary.path()).output()?;
    let shown = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(shown.contains("cannot start sh, which ends the server with this program;"), "{shown}");
    ensure!(temporary.path().read_dir()?.next().is_none(), "a folder is left");
    Ok(())
}

#[test]
fn an_etcd_that_refuses_is_quoted() -> Result<()> {
    let error = Server::start_with(&["--election-timeout=5"]).err().context("it serves")?;
    let error = format!("{error:#}");
    ensure!(error.contains(" ended with exit status: 1: failed to verify flags: "), "{error}");
    // The data and the log are removed, so the error must not send anybody there.
    ensure!(!error.contains(".log") && !error.contains('\n'), "{error}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn other_accounts_cannot_read_the_files() -> Result<()> {
    let etcd = Server::start()?;
    let folder = etcd.data().with_file_name("");
    let mode = fs::metadata(&folder)?.permissions().mode();
    ensure!(mode & 0o077 == 0, "{}: {mode:o}", folder.display());
    Ok(())
}

/// Returns the command that runs `program_with_a_server` as a program.
#[cfg(unix)]
fn program() -> Result<Command> {
    let mut command = testing::command(env::current_exe()?);
    command
        .args(["server::program_with_a_server", "--exact", "--ignored", "--nocapture"])
        .env("HAS_A_SERVER", "yes");
    Ok(command)
}

#[cfg(unix)]
fn sh(script: &str) -> Result<()> {
    ensure!(testing::command("sh").args(["-c", script]).status()?.success(), "{script} failed");
    Ok(())
}

/// The program that a test above starts and kills.
#[test]
#[ignore = "is a program for another test to kill"]
fn program_with_a_server() -> Result<()> {
    if env::var_os("HAS_A_SERVER").is_none() {
        return Ok(());
    }
    let mut etcd = Server::start()?;
    let folder = etcd.data().with_file_name("");
    if env::var_os("HAS_A_SERVER").is_some_and(|what| what == "killed") {
        etcd.kill()?;
    }
    println!("server {} {} {}", etcd.id(), etcd.address(), folder.display());
    loop {
        park();
    }
}
