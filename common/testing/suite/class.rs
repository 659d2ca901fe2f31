//! The etcd of a class, its board, and what runs report to it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, CompactionOptions, ConnectOptions, DeleteOptions, GetOptions};
use etcd_server::Server;
use testing::{PATIENCE, Program, program_with, without_times};
use tokio::time::{Duration, sleep};

/// Returns the command that tries `yours.rs` as the student `name`.
fn try_yours(endpoint: &str, exercise: &str, name: &str) -> Result<Command> {
    let mut command = program_with(endpoint, &format!("examples/{exercise}"))?;
    command.env("EXERCISE_NAME", name);
    // With the symbols of a terminal, which `without_times` knows.
    command.envs([("CLICOLOR_FORCE", "1"), ("LC_ALL", "C.UTF-8")]);
    Ok(command)
}

/// Waits for the end of a run. Returns its verdict and everything that it printed, without the
/// lengths in its picture.
fn verdict(program: Program) -> Result<(String, Vec<String>)> {
    let (lines, _) = program.end()?;
    let verdict = lines.iter().find_map(|line| {
        ["held", "broken"].into_iter().find(|verdict| line.starts_with(&format!("{verdict}: ")))
    });
    let verdict = verdict.with_context(|| format!("no verdict: {lines:#?}"))?;
    Ok((verdict.to_owned(), lines.iter().map(|line| without_times(line)).collect()))
}

/// Returns the keys below `class/` without the clone, each with the first word of its value and its
/// version.
async fn keys(client: &mut Client) -> Result<Vec<(String, String, i64)>> {
    let found = client.get("class/", Some(GetOptions::new().with_prefix())).await?;
    let key = |key: &str| {
        let path: Vec<&str> = key.split('/').collect();
        [&path[1..2], &path[3..]].concat().join("/")
    };
    let entry = |kv: &etcd_client::KeyValue| {
        let word = kv.value_str()?.split(' ').next().unwrap_or_default();
        Ok((key(kv.key_str()?), word.to_owned(), kv.version()))
    };
    found.kvs().iter().map(entry).collect()
}

async fn wait_until_running(client: &mut Client, running: bool) -> Result<()> {
    let begin = Instant::now();
    loop {
        let keys = keys(client).await?;
        if keys.iter().any(|(key, ..)| key.ends_with("/running")) == running {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{keys:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_run_reports_itself_and_its_verdict() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    let (mut runs, mut reports, mut first) = (0, 0, None);
    while reports < 2 {
        // An exercise whose verdict no slow machine can change.
        let run = Program::start(try_yours(&server.endpoint(), "pages", "an/na ")?)?;
        wait_until_running(&mut client, true).await?;
        let (verdict, lines) = verdict(run)?;
        runs += 1;
        // A busy machine may be too late for a report, and says so.
        if lines.iter().any(|line| line.starts_with("the class does not see")) && runs < 5 {
            wait_until_running(&mut client, false).await?;
            continue;
        }
        reports += 1;
        let expected = [
            ("an-na/here".to_owned(), String::new(), runs),
            ("an-na/pages".to_owned(), verdict, reports),
        ];
        let keys = keys(&mut client).await?;
        ensure!(keys == expected, "{keys:?}");

        // Both runs have the same verdict, so `since` is the time of the first one.
        let all = GetOptions::new().with_prefix();
        let found = client.get("class/an-na/", Some(all)).await?;
        let value = found.kvs().last().context("no verdict")?.value_str()?;
        let times: Vec<u64> = value.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let &[last, since] = &times[..] else { bail!("{value}") };
        ensure!(since == *first.get_or_insert(last) && last >= since, "{value}");
    }

    // A killed run can't report its end, but its lease expires.
    let run = Program::start(try_yours(&server.endpoint(), "heartbeat", "anna")?)?;
    wait_until_running(&mut client, true).await?;
    drop(run); // kills it
    wait_until_running(&mut client, false).await?;

    // Only the student's own answer counts.
    let mut solution = program_with(&server.endpoint(), "answers")?;
    solution.args(["tidy", "solution"]).env("EXERCISE_NAME", "ben");
    Program::start(solution)?.end()?;
    let keys = keys(&mut client).await?;
    ensure!(!keys.iter().any(|(key, ..)| key.starts_with("ben")), "{keys:?}");
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_reported() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    let mut run = try_yours(&server.endpoint(), "tidy", "")?;
    run.env("EXERCISE_NAME", OsStr::from_bytes(b"J\xfcrgen")); // typed in a Latin-1 terminal
    let (verdict, _) = verdict(Program::start(run)?)?;
    let reported = keys(&mut client).await?;
    let expected = ("J\u{fffd}rgen/tidy".to_owned(), verdict, 1);
    ensure!(reported.contains(&expected), "{reported:?}");
    Ok(())
}

#[test]
fn an_empty_port_counts_as_unset() -> Result<()> {
    let mut command = program_with("", "class")?;
    command.env("CLASS_PORT", "");
    let class = Program::start(command)?;
    line(&class, "export ETCDCTL_ENDPOINTS=")?;
    let mut command = program_with("", "class")?;
    command.env("CLASS_PORT", OsStr::from_bytes(b"\xff"));
    let (lines, status) = Program::start(command)?.end()?;
    let error = "Error: cannot use CLASS_PORT=\u{fffd}: not a port; set a number up to 65535";
    ensure!(status.code() == Some(1) && lines == [error], "{lines:#?}");
    Ok(())
}

#[test]
#[ignore = "keeps a core busy for seconds"]
fn a_password_may_take_longer_than_a_request() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = folder.path().join("etcd");
    let bundled = etcd_bin_vendored::etcd_bin_path()?;
    // This etcd hashes a password for seconds, as on a busy machine. Another process writes the
    // script: a child of another test may inherit a file that this process writes, and a file that
    // is open for writing can't be run.
    let write =
        r#"printf '#!/bin/sh\nexec "%s" "$@" --bcrypt-cost=14\n' "$1" > "$0"; chmod 700 "$0""#;
    let mut shell = testing::command("sh");
    ensure!(shell.args(["-c", write]).arg(&etcd).arg(bundled).status()?.success());
    let mut command = program_with("", "class")?;
    command.args(["users", "anna"]).env("CLASS_PORT", "0").env("ETCD", &etcd);
    let class = Program::start(command)?;
    line(&class, "export ETCDCTL_ENDPOINTS=")?;
    let about = line(&class, "each student's line is in ")?;
    let (path, _) = about.split_once(": ").context("no path")?;
    fs::remove_file(path)?;
    Ok(())
}

#[test]
fn a_failed_report_changes_nothing() -> Result<()> {
    let alone = verdict(Program::start(try_yours("", "tidy", "")?)?)?;
    for endpoint in ["", "127.0.0.1:1"] {
        let mut run = try_yours(endpoint, "tidy", "anna")?;
        if endpoint.is_empty() {
            run.env_remove("ETCDCTL_ENDPOINTS");
        }
        let (verdict, mut lines) = verdict(Program::start(run)?)?;
        let last = lines.pop().unwrap_or_default();
        ensure!(last.starts_with("the class does not see this verdict: "), "{last}");
        let reported = (verdict, lines);
        ensure!(reported == alone, "{reported:#?}\nalone: {alone:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_run_without_a_name_shows_the_missing_line() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    let last = |endpoint: &str, name| -> Result<String> {
        let (_, lines) = verdict(Program::start(try_yours(endpoint, "tidy", name)?)?)?;
        Ok(lines.last().cloned().unwrap_or_default())
    };
    let alone = last("", "")?;
    // The student's own etcd, and an address without etcd.
    for endpoint in [&*server.endpoint(), "127.0.0.1:1"] {
        let last = last(endpoint, "")?;
        ensure!(last == alone, "{last}");
    }
    client.put("class/", "", None).await?;
    // The class's line may also be typed as it stands.
    for name in ["", "your-name"] {
        let last = last(&server.endpoint(), name)?;
        ensure!(last == "export EXERCISE_NAME='your-name'", "{last}");
    }
    Ok(())
}

#[test]
fn a_missing_class_is_explained() -> Result<()> {
    for name in ["board", "simulate"] {
        for endpoint in [None, Some("")] {
            let mut command = program_with("", &format!("examples/{name}"))?;
            match endpoint {
                Some(endpoint) => command.env("ETCDCTL_ENDPOINTS", endpoint),
                None => command.env_remove("ETCDCTL_ENDPOINTS"),
            };
            // If the check fails, this keeps the program away from the etcd of this machine.
            command.env("ETCDCTL_CACERT", "/none");
            let (lines, status) = Program::start(command)?.end()?;
            ensure!(!status.success() && lines.len() == 1, "{name}: {status} {lines:#?}");
            let says = "; start `cargo class` and type the line that its screen shows";
            ensure!(lines[0].ends_with(says), "{name}: {lines:#?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_board_saves_results_and_removes_rows() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    for (key, value) in [
        ("anna/fkqz/counter", "held 1795985999 951782400"),
        ("anna/wbte/pages", "broken 1795985999 1795985999"),
        ("anna/wbte/here", ""),
        ("=\"b\"\n/hjuo/tidy", "broken"),
    ] {
        client.put(format!("class/{key}"), value, None).await?;
    }
    let board = |words: &[&str]| -> Result<_> {
        let mut command = program_with(&server.endpoint(), "examples/board")?;
        command.args(words);
        Program::start(command)?.end()
    };
    let head = "student,exercise,verdict,runs,last,since";
    let b = r#""'=""b""",tidy,broken,1,,"#;
    let fkqz = r#""anna fkqz",counter,held,1,2026-11-29T20:59:59Z,2000-02-29T00:00:00Z"#;
    let wbte = r#""anna wbte",pages,broken,1,2026-11-29T20:59:59Z,2026-11-29T20:59:59Z"#;
    let (lines, _) = board(&["--csv"])?;
    ensure!(lines == [head, b, fkqz, wbte], "{lines:#?}");

    let (lines, status) = board(&["remove", "anna", "fkqz"])?;
    ensure!(status.success() && lines == ["removed anna/fkqz from the board"], "{lines:#?}");
    let (lines, _) = board(&["csv"])?;
    ensure!(lines == [head, b, &wbte.replace(" wbte", "")], "{lines:#?}");

    let (lines, status) = board(&["remove", "ann"])?;
    ensure!(!status.success() && lines.len() == 1, "{lines:#?}");
    let (lines, status) = board(&["cuonter"])?;
    ensure!(status.code() == Some(2) && lines.len() == 1, "{lines:#?}");
    Ok(())
}

#[test]
fn ctrl_c_ends_a_class_without_an_error() -> Result<()> {
    let mut command = program_with("", "class")?;
    command.env("CLASS_PORT", "0");
    let class = Program::start(command)?;
    line(&class, "everybody in this network")?; // so its board has started
    // A terminal interrupts both programs, and the board may end first.
    let interrupt = format!("pkill -INT -x -P {0} class; sleep 0.3; kill -INT {0}", class.id());
    let _ = testing::command("sh").args(["-c", &interrupt]).status()?;
    class.expect_success(&[])
}

#[test]
fn the_exercise_prints_what_the_page_shows() -> Result<()> {
    crate::follow_exercises("common/class")
}

#[test]
fn the_page_quotes_the_board() -> Result<()> {
    let read = |path: &str| fs::read_to_string(testing::root().join("common/class").join(path));
    let (page, board) = (read("README.md")?, read("src/board.rs")?);
    let quotes = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    for quote in quotes {
        ensure!(board.contains(quote.trim()), "{quote}");
    }
    ensure!(board.lines().count() <= 150, "the board is for reading");
    Ok(())
}

#[tokio::test]
async fn the_board_misses_nothing() -> Result<()> {
    let mut server = Server::start()?;
    let mut board = program_with(&server.endpoint(), "examples/board")?;
    board.env("LC_ALL", "C.UTF-8");
    let board = Program::start(board)?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    client.put("class/anna/fkqz/counter", "held", None).await?;
    board.expect("anna/fkqz/counter: held 1")?;
    client.put("class/anna/fkqz/counter", "broken", None).await?;
    board.expect("anna/fkqz/counter: broken 2")?;
    // A name can't send escape sequences to the terminal.
    client.put("class/b\u{1b}[31me\u{7}n\u{202e}/wbte/pages", "held", None).await?;
    board.expect("ben/wbte/pages: held 1")?;

    server.kill()?;
    server.restart()?;
    let mut client = Client::connect([server.endpoint()], None).await?;
    client.put("class/anna/fkqz/counter", "held", None).await?;
    let put = client.put("class/carla/hjuo/tidy", "held", None).await?;
    let now = put.header().context("no header")?.revision();
    client.compact(now, Some(CompactionOptions::new().with_physical())).await?;
    let begin = Instant::now();
    let mut seen = Vec::new();
    while !(seen.contains(&"anna/fkqz/counter: held 3".to_owned())
        && seen.contains(&"carla/hjuo/tidy: held 1".to_owned()))
    {
        seen.extend(board.line()?); // other lines are about the connection
        ensure!(begin.elapsed() < PATIENCE, "{seen:#?}");
    }

    client.delete("class/", Some(DeleteOptions::new().with_prefix())).await?;
    for key in ["anna/fkqz/counter", "ben/wbte/pages", "carla/hjuo/tidy"] {
        board.expect(&format!("{key}: gone"))?;
    }
    Ok(())
}

/// Waits for a line that begins with `start`. Returns the rest of the line.
fn line(program: &Program, start: &str) -> Result<String> {
    while let Some(line) = program.line()? {
        if let Some(rest) = line.strip_prefix(start) {
            return Ok(rest.to_owned());
        }
    }
    bail!("no line begins with {start}")
}

#[tokio::test]
async fn students_cannot_write_for_each_other() -> Result<()> {
    let mut command = program_with("", "class")?;
    command.args(["users", "anna", "ben"]).env("CLASS_PORT", "0");
    command.env("LC_ALL", "C.UTF-8"); // the path that it shows may not be ASCII
    let class = Program::start(command)?;
    let invitation = line(&class, "export ETCDCTL_ENDPOINTS=")?;
    let (endpoint, rest) = invitation.split_once(' ').context("one word only")?;
    ensure!(rest == "EXERCISE_NAME='your-name' ETCDCTL_USER=your-name:your-password", "{rest}");
    let about = line(&class, "each student's line is in ")?;
    let (path, _) = about.split_once(": ").context("no path")?;
    let lines_to_print = fs::read_to_string(path)?;
    fs::remove_file(path)?;
    let password = |name: &str| {
        let start = format!("ETCDCTL_USER={name}:");
        let word = lines_to_print.split_whitespace().find_map(|word| word.strip_prefix(&start));
        word.map(str::to_owned).with_context(|| format!("no password of {name}"))
    };

    let options = ConnectOptions::new().with_user("ben", password("ben")?);
    let mut ben = Client::connect([endpoint], Some(options)).await?;
    ben.put("class/ben/wbte/counter", "held", None).await?;
    line(&class, "ben/wbte/counter: held 1")?;
    let all = || Some(DeleteOptions::new().with_prefix());
    let refused = [
        ben.put("class/anna/fkqz/counter", "broken", None).await.err(),
        ben.put("class/ben", "", None).await.err(),
        ben.put("testkey", "", None).await.err(),
        ben.delete("class/", all()).await.err(),
        ben.delete("", all()).await.err(),
        ben.auth_disable().await.err(),
        Client::connect([endpoint], None).await?.put("class/ben/x/tidy", "", None).await.err(),
    ];
    for (index, error) in refused.iter().enumerate() {
        ensure!(error.is_some(), "attempt {index} was not refused");
    }
    ben.get("class/", Some(GetOptions::new().with_prefix())).await?;

    // A run reports itself with the password, and may write the keys of its exercise.
    let mut run = try_yours(endpoint, "counter", "ben")?;
    run.env("ETCDCTL_USER", format!("ben:{}", password("ben")?));
    let (verdict, _) = verdict(Program::start(run)?)?;
    let (_, reported) = line(&class, "ben/")
        .and_then(|_| line(&class, "ben/"))
        .and_then(|_| line(&class, "ben/"))
        .map(|rest| rest.split_once(": ").map(|(_, rest)| ((), rest.to_owned())))?
        .context("no verdict on the board")?;
    ensure!(reported == format!("{verdict} 1"), "{reported}");

    class.interrupt()?;
    class.end()?;
    ensure!(Client::connect([endpoint], None).await?.get("x", None).await.is_err());
    Ok(())
}
