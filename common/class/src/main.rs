//! Starts the etcd of a class on this machine, and shows its board, until Ctrl-C.
//!
//! ```text
//! cargo class                       everybody in this network can read and change all that is in it
//! cargo class users anna ben        each of these students gets a password; it takes no others
//! cargo class keep                  as the first one, but the data stays for the next lesson
//! ```
//!
//! The port is 12379 if that is free, or the one that `CLASS_PORT` names.

use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write, stdin, stdout};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Stdio, exit};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use class::invitation;
use common::{REQUEST_TIMEOUT, cannot_use, connect_to, within, words};
use etcd_client::{Client, Permission};
use etcd_server::{Server, bare_command, target_folder};
use exercise::CLASS;
use tokio::signal::ctrl_c;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The port, if it is free: one that can be remembered, and is not that of the chapters.
const PORT: u16 = 12379;

/// How long etcd may take to add a user. It computes a hash of the password, which takes seconds on
/// a busy machine.
const PASSWORD_LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words = words(include_str!("main.rs"));
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => class(None, &[]).await,
        ["keep"] => class(Some(target()?.join("class")), &[]).await,
        ["users", first, rest @ ..] => class(None, &[&[*first], rest].concat()).await,
        ["board", warning] => {
            // It ends with the program that has started it, however that ends.
            std::thread::spawn(|| {
                let _ = stdin().read(&mut [0]);
                exit(1);
            });
            class::show(warning, None).await
        }
        words => cannot_use(&words.join(" "), "cargo class [keep | users NAME...]"),
    }
}

/// Runs the etcd, with the data in a folder that stays if there is one, and its board.
async fn class(data: Option<PathBuf>, students: &[&str]) -> Result<()> {
    let port = match env::var_os("CLASS_PORT").filter(|port| !port.is_empty()) {
        Some(port) => {
            let port = port.to_string_lossy().parse().context("CLASS_PORT is no port")?;
            TcpListener::bind(("0.0.0.0", port))
        }
        _ => TcpListener::bind(("0.0.0.0", PORT)).or_else(|_| TcpListener::bind("0.0.0.0:0")),
    };
    let port = port.and_then(|listener| listener.local_addr()).context("cannot listen")?.port();
    // The students are on other machines, so this etcd listens on more than loopback.
    let mut flags = vec![
        format!("--listen-client-urls=http://0.0.0.0:{port}"),
        format!("--advertise-client-urls=http://0.0.0.0:{port}"),
    ];
    let stays = data.as_ref().map(|data| format!("its data stays in {}", data.display()));
    flags.extend(data.map(|data| format!("--data-dir={}", data.display())));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut etcd = Server::start_with(&flags)?;

    // By this key, a run without a name knows that this is the etcd of a class.
    let mut client = connect_to([format!("127.0.0.1:{port}")]).await?;
    within(REQUEST_TIMEOUT, client.put(CLASS, "", None)).await.context("put failed")?;

    let endpoint = format!("{}:{port}", this_machine());
    let mut warning = "everybody in this network can read and change all that is in it".to_owned();
    let mut user = None;
    if !students.is_empty() {
        let path = target()?.join(format!("class-{port}.txt"));
        let passwords = add_students(client, students).await?;
        write_hand_out(&path, &endpoint, &passwords)?;
        warning = format!("each student's line is in {}: print it", path.display());
        user = passwords.last().map(|(name, password)| format!("{name}:{password}"));
    }
    warning += "; Ctrl-C ends this etcd, and ";
    warning += &stays.unwrap_or("its data is deleted then".to_owned());

    let password = user.as_ref().map(|_| "your-password");
    writeln!(stdout(), "{}", invitation(&endpoint, "your-name", password))?;
    let mut board = bare_command(env::current_exe()?);
    // What a terminal can show.
    for name in ["TERM", "LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR"] {
        board.envs(env::var_os(name).map(|value| (name, value)));
    }
    board.args(["board", &warning]).env("ETCDCTL_ENDPOINTS", &endpoint).stdin(Stdio::piped());
    let mut board = board.envs(user.map(|user| ("ETCDCTL_USER", user))).spawn()?;

    let keep_running = async {
        loop {
            if let Some(status) = board.try_wait()? {
                // A terminal interrupts both programs with Ctrl-C, and the board may end first.
                sleep(Duration::from_secs(1)).await;
                bail!("the board has ended: {status}");
            }
            if !etcd.is_running() {
                etcd = spawn_blocking(move || etcd.restart().map(|()| etcd)).await??;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        pressed = ctrl_c() => Ok(pressed?),
        ended = keep_running => ended,
    }
}

/// Adds a user for each student, who may write what the exercises need, and what the class knows of this
/// student; one for the board, who may write nothing; and `root`, whom etcd demands. Returns their names
/// and passwords, the board last.
async fn add_students(mut client: Client, students: &[&str]) -> Result<Vec<(String, String)>> {
    let mut passwords = Vec::new();
    for &name in students.iter().chain(&["root", "board"]) {
        let is_word = name.chars().all(|char| char.is_alphanumeric() || "-_.".contains(char));
        ensure!(is_word, "cannot use {name:?} as a name: take letters, digits and -_. only");
        let password = password();
        within(PASSWORD_LIMIT, client.user_add(name, &*password, None))
            .await
            .with_context(|| format!("cannot add {name}"))?;
        let role = if name == "root" { "root" } else { &format!("of {name}") };
        within(REQUEST_TIMEOUT, client.role_add(role)).await.context("cannot add a role")?;
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
    within(REQUEST_TIMEOUT, client.auth_enable()).await.context("cannot demand passwords")?;
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
    let mut random = RandomState::new().hash_one(()); // keyed with the system's random numbers
    let mut letters = String::new();
    for _ in 0..10 {
        letters.push(char::from(b'a' + (random % 26) as u8));
        random /= 26;
    }
    letters
}

/// Writes what each student has to type, in a file that only this account can read.
fn write_hand_out(path: &Path, endpoint: &str, passwords: &[(String, String)]) -> Result<()> {
    let _ = fs::remove_file(path); // of the last lesson
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
    target_folder().context("this program is in no target folder")
}

/// Returns this machine's address in its network, or the one of loopback if it is in none.
fn this_machine() -> IpAddr {
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // Sends nothing; it only picks a network. The address is one that nobody has (RFC 5737).
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    ask().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
