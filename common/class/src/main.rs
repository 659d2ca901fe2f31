//! Starts the etcd of a class on this machine, and shows its board, until Ctrl-C.
//!
//! ```text
//! cargo class                    everybody in this network can read and change everything in it
//! cargo class users anna ben     only these students can, each with a password
//! cargo class keep               keeps the data for the next lesson
//! ```
//!
//! It listens on port 12379 if that is free, or on the port in `CLASS_PORT`.

use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Stdio, exit};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use class::invitation;
use common::{REQUEST_TIMEOUT, cannot_use, connect_to, within, words};
use etcd_client::{Client, Permission};
use etcd_server::{Server, bare_command, target_folder};
use exercise::{CLASS, YOUR_NAME};
use tokio::signal::ctrl_c;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The port of a class, if it is free: easy to remember, and not the port of the chapters.
const PORT: u16 = 12379;

/// How long etcd may take to add a user: it hashes the password, which takes seconds on a busy
/// machine.
const PASSWORD_LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words = words(include_str!("main.rs"));
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => class(None, &[]).await,
        ["keep"] => class(Some(target()?.join("class")), &[]).await,
        ["users", first, rest @ ..] => class(None, &[&[*first], rest].concat()).await,
        ["board", warning] => {
            // Stdin is a pipe from the program that started this board. It closes however that
            // program ends.
            std::thread::spawn(|| {
                let _ = stdin().read(&mut [0]);
                exit(1);
            });
            class::show(warning, None).await
        }
        words => cannot_use(&words.join(" "), "cargo class [keep | users NAME...]"),
    }
}

/// Runs the etcd of a class and its board. Deletes the data at the end unless it is in the folder
/// `data`. If there are `students`, only they can log in.
async fn class(data: Option<PathBuf>, students: &[&str]) -> Result<()> {
    let listener = match env::var_os("CLASS_PORT").filter(|port| !port.is_empty()) {
        Some(port) => {
            let port = port.to_string_lossy();
            let number = port.parse().ok().with_context(|| {
                format!("cannot use CLASS_PORT={port}: not a port; set a number up to 65535")
            })?;
            TcpListener::bind(("0.0.0.0", number))
        }
        None => TcpListener::bind(("0.0.0.0", PORT)).or_else(|_| TcpListener::bind("0.0.0.0:0")),
    };
    let listener = listener.map_err(|error| {
        anyhow!("cannot listen on the port of the class: {error}; set CLASS_PORT to a free port")
    })?;
    let port = listener.local_addr()?.port();
    drop(listener);
    // The students are on other machines, so loopback isn't enough.
    let mut flags = vec![
        format!("--listen-client-urls=http://0.0.0.0:{port}"),
        format!("--advertise-client-urls=http://0.0.0.0:{port}"),
    ];
    let end = match &data {
        Some(data) => format!("Ctrl-C stops this etcd; its data stays in {}", data.display()),
        None => "Ctrl-C stops this etcd and deletes its data".to_owned(),
    };
    flags.extend(data.map(|data| format!("--data-dir={}", data.display())));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut etcd = Server::start_with(&flags)?;

    // A student's run without a name recognizes the etcd of a class by this key.
    let mut client = connect_to([format!("127.0.0.1:{port}")]).await?;
    within(REQUEST_TIMEOUT, client.put(CLASS, "", None)).await.context("put failed")?;

    let endpoint = format!("{}:{port}", this_machine());
    let mut warning = "everybody in this network can read and change everything in it".to_owned();
    let mut user = None;
    if !students.is_empty() {
        let path = target()?.join(format!("class-{port}.txt"));
        let passwords = add_students(client, students).await?;
        write_invitations(&path, &endpoint, &passwords)?;
        warning = format!("each student's line is in {}: print it", path.display());
        user = passwords.last().map(|(name, password)| format!("{name}:{password}"));
    }
    warning += &format!("; {end}");

    let password = user.as_ref().map(|_| "your-password");
    writeln!(stdout(), "{}", invitation(&endpoint, YOUR_NAME, password))?;
    let mut board = bare_command(env::current_exe()?);
    // The board depends on what the terminal can show.
    for name in ["TERM", "LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR"] {
        board.envs(env::var_os(name).map(|value| (name, value)));
    }
    board.args(["board", &warning]).env("ETCDCTL_ENDPOINTS", &endpoint).stdin(Stdio::piped());
    let mut board = board.envs(user.map(|user| ("ETCDCTL_USER", user))).spawn()?;

    let keep_running = async {
        loop {
            if let Some(status) = board.try_wait()? {
                // Ctrl-C interrupts both programs. If the board ended first, `ctrl_c` below ends
                // this one without an error.
                sleep(Duration::from_secs(1)).await;
                bail!("cannot show the board: its program ended ({status}); its error is above");
            }
            if !etcd.is_running() {
                etcd = spawn_blocking(move || etcd.restart().map(|()| etcd)).await??;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        pressed = ctrl_c() => {
            if stdout().is_terminal() {
                writeln!(stdout())?; // the board has ended without one
            }
            Ok(pressed?)
        }
        ended = keep_running => ended,
    }
}

/// Adds a user for each of the `students`, who may write their own rows and the keys of the
/// exercises. Also adds `board`, who may only read, and `root`, without whom etcd accepts no
/// passwords. Returns the names and passwords of all but `root`, the board last.
async fn add_students(mut client: Client, students: &[&str]) -> Result<Vec<(String, String)>> {
    let mut passwords = Vec::new();
    for &name in students.iter().chain(&["root", "board"]) {
        let is_word = name.chars().all(|char| char.is_alphanumeric() || "-_.".contains(char));
        ensure!(is_word, "cannot use {name:?} as a name; use only letters, digits and -_.");
        let password = password();
        within(PASSWORD_LIMIT, client.user_add(name, &*password, None))
            .await
            .with_context(|| format!("cannot add the user {name}"))?;
        let role = if name == "root" { "root" } else { &format!("of {name}") };
        within(REQUEST_TIMEOUT, client.role_add(role))
            .await
            .with_context(|| format!("cannot add the role {role:?}"))?;
        if name != "root" {
            grant(&mut client, role, Permission::read(CLASS)).await?;
        }
        if students.contains(&name) {
            for prefix in [&*format!("{CLASS}{name}/"), "exercise/"] {
                grant(&mut client, role, Permission::read_write(prefix)).await?;
            }
        }
        within(REQUEST_TIMEOUT, client.user_grant_role(name, role)).await?;
        passwords.push((name.to_owned(), password));
    }
    within(REQUEST_TIMEOUT, client.auth_enable()).await.context("cannot turn on passwords")?;
    passwords.retain(|(name, _)| name != "root");
    Ok(passwords)
}

async fn grant(client: &mut Client, role: &str, permission: Permission) -> Result<()> {
    let below = permission.with_prefix();
    within(REQUEST_TIMEOUT, client.role_grant_permission(role, below)).await?;
    Ok(())
}

/// Returns ten letters that nobody can guess.
fn password() -> String {
    let mut random = RandomState::new().hash_one(()); // seeded by the system
    let mut letters = String::new();
    for _ in 0..10 {
        letters.push(char::from(b'a' + (random % 26) as u8));
        random /= 26;
    }
    letters
}

/// Writes the line that each student types into a new file that only this account can read.
fn write_invitations(path: &Path, endpoint: &str, passwords: &[(String, String)]) -> Result<()> {
    let _ = fs::remove_file(path); // there may be one from the last lesson
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file =
        options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    for (name, password) in passwords {
        let line = invitation(endpoint, name, Some(password));
        let after = if name == "board" { "cargo board" } else { "\n- - - - - - - -\n" };
        writeln!(file, "{line}\n{after}")?;
    }
    Ok(())
}

fn target() -> Result<PathBuf> {
    target_folder().context("cannot find the target folder: start this program with cargo")
}

/// Returns this machine's address in its network, or the loopback address if it is in none.
fn this_machine() -> IpAddr {
    let address = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // Sends nothing, but picks a network. Nobody has this address (RFC 5737).
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    address().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
