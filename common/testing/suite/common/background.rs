//! The etcd in the background.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etcd_server::freeze;
use testing::{Program, TestMachine, signal};

/// Runs a command on a test machine. It must fail. Returns its lines.
fn expect_failure(machine: &mut TestMachine, command: Command) -> Result<Vec<String>> {
    let (lines, status) = Program::start(command)?.end()?;
    lines.iter().for_each(|line| machine.note(line));
    ensure!(status.code() == Some(1), "{status}: {lines:#?}");
    Ok(lines)
}

/// Runs a command on a test machine. It must succeed. Returns whether it started a server.
fn starts_server(machine: &mut TestMachine, command: Command) -> Result<bool> {
    let (lines, status) = Program::start(command)?.end()?;
    lines.iter().for_each(|line| machine.note(line));
    ensure!(status.success(), "{status}: {lines:#?}");
    Ok(lines.iter().any(|line| line.starts_with("starting etcd ")))
}

/// If two shared a port, one test would remove the data of the other.
#[test]
fn two_test_machines_never_share_a_port() -> Result<()> {
    let machines = (0..300).map(|_| TestMachine::new()).collect::<Result<Vec<_>>>()?;
    let addresses: BTreeSet<_> = machines.iter().map(|machine| machine.address).collect();
    ensure!(addresses.len() == machines.len(), "{} addresses", addresses.len());
    Ok(())
}

#[test]
fn chapters_started_at_once_share_one_server() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let chapters =
        [Program::start(machine.command("put-get")?)?, Program::start(machine.command("delete")?)?];
    let mut lines = Vec::new();
    for chapter in chapters {
        let (shown, status) = chapter.end()?;
        shown.iter().for_each(|line| machine.note(line));
        ensure!(status.success(), "{status}: {shown:?}");
        lines.extend(shown);
    }
    let started = lines.iter().filter(|line| line.starts_with("starting etcd ")).count();
    ensure!(started == 1, "{lines:#?}");
    Ok(())
}

#[test]
fn the_next_chapter_uses_a_server_left_starting() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let interrupted = Program::start(machine.command("put-get")?)?;
    while machine.servers.is_empty() {
        machine.note(&interrupted.line()?.context("it has ended")?);
    }
    interrupted.interrupt()?;
    ensure!(interrupted.end()?.1.code().is_none(), "it was not interrupted");
    let starting = freeze(machine.servers[0])?;
    let next = Program::start(machine.command("put-get")?)?;
    drop(starting);
    let (lines, status) = next.end()?;
    lines.iter().for_each(|line| machine.note(line));
    // If it had started another server, the two would have disturbed each other.
    ensure!(status.success() && lines == ["testkey,testvalues"], "{status}: {lines:#?}");
    Ok(())
}

#[test]
fn a_server_just_killed_is_replaced() -> Result<()> {
    let mut machine = TestMachine::new()?;
    // Play the system after a server was killed: its port accepts connections for a moment, and
    // then closes with them.
    let killed = TcpListener::bind(machine.address)?;
    let chapter = Program::start(machine.command("put-get")?)?;
    let (_look, _) = killed.accept()?;
    let (mut check, _) = killed.accept()?;
    check.read_exact(&mut [0])?;
    drop((killed, check));
    let (lines, status) = chapter.end()?;
    lines.iter().for_each(|line| machine.note(line));
    ensure!(status.success() && machine.servers.len() == 1, "{status}: {lines:#?}");
    Ok(())
}

#[test]
fn the_server_outlives_the_chapter_and_ctrl_c() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let mut watch = machine.command("watch")?;
    watch.process_group(0); // as a shell does: Ctrl-C goes to the whole group
    let watch = Program::start(watch)?;
    while machine.servers.is_empty() {
        machine.note(&watch.line()?.context("it has ended")?);
    }
    watch.expect("watching testkey")?;
    let kill = format!("kill -INT -{}", watch.id());
    ensure!(testing::command("sh").args(["-c", &kill]).status()?.success());
    // This waits for the end of the pipe, too, so it shows that the server does not keep it open.
    watch.end()?;
    Program::start(machine.command("put-get")?)?.expect("testkey,testvalues")
}

#[test]
fn a_failed_start_is_explained() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let mut chapter = machine.command("put-get")?;
    chapter.env("ETCD", "/no/such/etcd");
    let missing = expect_failure(&mut machine, chapter)?;
    let expected = "Error: cannot start /no/such/etcd, which ETCD names";
    ensure!(missing[1].starts_with(expected), "{missing:#?}");

    // etcd needs a folder where we put a file.
    let data = etcd_server::background_data(machine.address);
    fs::create_dir(&data)?;
    fs::write(data.join("member"), "")?;
    let chapter = machine.command("put-get")?;
    let ended = expect_failure(&mut machine, chapter)?.concat();
    ensure!(ended.contains(" ended with exit status: 1: ") && ended.contains("not a directory"));
    ensure!(ended.ends_with(&format!("etcd-{}.log", machine.address.port())), "{ended}");
    fs::remove_dir_all(&data)?;

    #[cfg(target_os = "linux")]
    {
        let chapter = machine.command("put-get")?;
        let mut limited = testing::command("sh");
        limited.args(["-c", r#"ulimit -v 1000000; exec "$0""#]).arg(chapter.get_program());
        limited.envs(chapter.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = expect_failure(&mut machine, limited)?.concat();
        ensure!(ended.contains("cannot allocate memory (memory is limited, "), "{ended}");
    }
    Ok(())
}

#[test]
fn damaged_data_is_reported_and_old_log_kept() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let data = etcd_server::background_data(machine.address);
    machine.start_server()?;
    signal("KILL", machine.servers[0])?;
    let first = fs::read(data.with_extension("log"))?;
    fs::write(data.join("member/snap/db"), [0; 5000])?;
    let chapter = machine.command("put-get")?;
    let ended = expect_failure(&mut machine, chapter)?.concat();
    let advice = "(the data may be damaged; to discard the data and start over: rm -r ";
    ensure!(ended.contains("failed to open database: ") && ended.contains(advice), "{ended}");
    ensure!(fs::read(data.with_extension("log.old"))?.starts_with(&first));

    fs::remove_dir_all(&data)?;
    let chapter = machine.command("put-get")?;
    starts_server(&mut machine, chapter)?;
    Ok(())
}

#[test]
fn other_accounts_cannot_read_the_files() -> Result<()> {
    let mut machine = TestMachine::new()?;
    machine.start_server()?;
    let data = etcd_server::background_data(machine.address);
    for path in [&data, &data.with_extension("log"), &data.with_extension("lock")] {
        let mode = fs::metadata(path)?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{}: {mode:o}", path.display());
    }
    Ok(())
}

#[test]
fn the_data_follows_the_target_folder() -> Result<()> {
    // Cargo marks a target folder that it creates. In any other it locks the folder of a profile.
    for mark in ["CACHEDIR.TAG", "debug/.cargo-lock"] {
        let mut machine = TestMachine::new()?;
        let target = tempfile::tempdir()?;
        let program = target.path().join("debug/put-get");
        fs::create_dir(target.path().join("debug"))?;
        // Let another process write the copy. A process that another test starts in the meantime
        // would inherit our open file, and a program that is open for writing can't run.
        let chapter = machine.command("put-get")?;
        let mut copy = testing::command("cp");
        ensure!(copy.arg(chapter.get_program()).arg(&program).status()?.success(), "cp failed");
        fs::write(target.path().join(mark), "")?;
        let mut chapter = testing::command(program);
        chapter.env("ETCD_LOCAL_PORT", machine.address.port().to_string());
        starts_server(&mut machine, chapter)?;
        let data = format!("etcd-{}", machine.address.port());
        ensure!(target.path().join(&data).is_dir(), "{mark}");
        ensure!(!etcd_server::background_data(machine.address).exists(), "{mark}");
        drop(machine); // before its folder is removed, into which the server writes
    }
    Ok(())
}

#[test]
fn data_in_use_by_another_etcd_is_reported() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let chapter = machine.command("put-get")?; // builds it, which may take a while
    let mut holder = TestMachine::new()?;
    // Once its data was moved away, this etcd ends half a minute after its start.
    holder.start_server()?;
    let [held, wanted]: [_; 2] =
        [&holder, &machine].map(|d| etcd_server::background_data(d.address));
    fs::rename(&held, &wanted)?;
    let lines = expect_failure(&mut machine, chapter)?.concat();
    ensure!(lines.contains(" (another etcd may use this data; stop that etcd)"), "{lines}");
    Ok(())
}

/// Copies the program of a chapter into `folder`. Returns the path of the copy.
fn copy_chapter(machine: &TestMachine, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let program = folder.join("put-get");
    // By another process, as in the test above.
    let mut copy = testing::command("cp");
    copy.arg(machine.command("put-get")?.get_program()).arg(&program);
    ensure!(copy.status()?.success(), "cp failed");
    Ok(program)
}

#[test]
fn the_path_of_damaged_data_can_be_pasted() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("it's é; $HOME/target");
    let program = copy_chapter(&machine, &target.join("debug"))?;
    fs::write(target.join("CACHEDIR.TAG"), "")?;
    let data = target.join(format!("etcd-{}", machine.address.port()));
    fs::create_dir_all(data.join("member/snap"))?;
    fs::write(data.join("member/snap/db"), [0; 5000])?;
    let mut chapter = testing::command(program);
    chapter.env("ETCD_LOCAL_PORT", machine.address.port().to_string());
    let ended = expect_failure(&mut machine, chapter)?.concat();
    let (_, advice) =
        ended.split_once("to discard the data and start over: ").context(ended.clone())?;
    let (pasted, _) = advice.split_once("); the log of etcd is ").context(ended.clone())?;
    ensure!(testing::command("sh").args(["-c", pasted]).status()?.success(), "{pasted}");
    ensure!(!data.exists() && target.exists(), "{pasted}");
    Ok(())
}

#[test]
fn a_copied_program_uses_the_home_folder() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let (folder, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut chapter = testing::command(copy_chapter(&machine, folder.path())?);
    chapter.env("ETCD_LOCAL_PORT", machine.address.port().to_string()).env("HOME", home.path());
    ensure!(starts_server(&mut machine, chapter)?);
    let data = home.path().join(format!(".etcd-by-example/etcd-{}", machine.address.port()));
    ensure!(data.is_dir(), "{} is missing", data.display());
    drop(machine); // before its folder is removed, into which the server writes
    Ok(())
}

/// Runs a chapter with a shell script as its etcd. The chapter must fail. Returns its output.
fn expect_failure_with(machine: &mut TestMachine, script: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let etcd = folder.path().join("etcd");
    // By another process, as in the test above.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0"; chmod 700 "$0""#;
    let mut shell = testing::command("sh");
    ensure!(shell.args(["-c", write]).arg(&etcd).arg(script).status()?.success());
    let mut chapter = machine.command("put-get")?;
    chapter.env("ETCD", etcd);
    Ok(expect_failure(machine, chapter)?.concat())
}

#[test]
fn a_log_cut_short_hints_at_full_disk() -> Result<()> {
    let mut machine = TestMachine::new()?;
    for (script, advice) in [
        ("exit 1", "(the disk may be full, "),
        (r#"printf '{"level":"info","msg":"op' >&2; exit 1"#, "(the disk may be full, "),
        ("echo write x: disk quota exceeded >&2; exit 1", "(the disk is full; "),
        ("echo write x: no space left on device >&2; exit 1", "(the disk is full; "),
    ] {
        let ended = expect_failure_with(&mut machine, script)?;
        ensure!(ended.contains(advice), "{script}: {ended}");
    }
    let other = expect_failure_with(&mut machine, "echo something else >&2; exit 1")?;
    ensure!(!other.contains("the disk"), "{other}");
    Ok(())
}

#[tokio::test]
async fn a_bound_but_silent_port_gets_advice() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let bound = tokio::net::TcpSocket::new_v4()?;
    bound.bind(machine.address)?;
    let chapter = machine.command("put-get")?;
    let ended = expect_failure(&mut machine, chapter)?.concat();
    let advice = "address already in use (another program uses that port; ";
    ensure!(ended.contains(advice), "{ended}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_a_network_gets_advice() -> Result<()> {
    let mut machine = TestMachine::new()?;
    // In a new network namespace, even loopback is down.
    let unshare = |command: Command| {
        let mut unshared = testing::command("unshare");
        unshared.arg("-rn").arg(command.get_program());
        unshared.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        unshared
    };
    if !unshare(testing::command("true")).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this account must not make a network namespace");
        return Ok(());
    }
    let chapter = unshare(machine.command("put-get")?);
    let ended = expect_failure(&mut machine, chapter)?.concat();
    ensure!(ended.contains("Network is unreachable"), "{ended}");
    ensure!(ended.contains("the network of this machine is down: "), "{ended}");
    ensure!(!ended.contains("stop the program that uses that port"), "{ended}");

    // With a user, the chapter would not start an etcd, so this error comes from connecting.
    let mut chapter = unshare(machine.command("put-get")?);
    chapter.env("ETCDCTL_USER", "anna:secret");
    let ended = expect_failure(&mut machine, chapter)?.concat();
    ensure!(ended.ends_with("; this machine has no network to that address"), "{ended}");
    Ok(())
}

#[test]
fn too_many_open_files_get_fitting_advice() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let mut has_advised = false;
    // How many files a program opens before it starts etcd depends on its libraries.
    for limit in 8..20 {
        let chapter = machine.command("put-get")?;
        let mut limited = testing::command("sh");
        limited
            .args(["-c", &format!(r#"ulimit -n {limit}; exec "$0""#)])
            .arg(chapter.get_program());
        limited.envs(chapter.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (lines, status) = Program::start(limited)?.end()?;
        lines.iter().for_each(|line| machine.note(line));
        let shown = lines.concat();
        ensure!(!status.success() && !shown.contains("set ETCD"), "{limit}: {shown}");
        has_advised |= shown.contains("raise the limit with `ulimit -n`");
    }
    ensure!(has_advised, "no limit let a chapter get as far as starting etcd");
    Ok(())
}

#[test]
fn the_server_inherits_no_file_descriptor() -> Result<()> {
    let mut machine = TestMachine::new()?;
    let chapter = machine.command("put-get")?;
    let mut shell = testing::command("bash");
    // `cat` ends only when no process has the other end of its pipe open.
    let script = r#""$0" 3>&1 44>&1 2>&1 >/dev/null | cat"#;
    shell.args(["-c", script]).arg(chapter.get_program());
    shell.envs(chapter.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let shell = Program::start(shell)?;
    let mut lines = Vec::new();
    while let Some(line) = shell.line()? {
        machine.note(&line);
        lines.push(line);
    }
    ensure!(lines.iter().any(|line| line.starts_with("starting etcd ")), "{lines:#?}");
    Ok(())
}
