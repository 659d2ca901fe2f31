//! The lab as its page shows it, and its errors when a redis is missing or fails.
#![cfg(unix)] // the servers in these tests are shell scripts, and the signals are Unix's

use std::env;
use std::fs::{self, Permissions};
use std::io::{Write, stderr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testing::{PATIENCE, Program, signal, without_times};

const PAGE: &str = include_str!("../README.md");

#[test]
fn the_lab_prints_what_its_page_shows() -> Result<()> {
    if redis()?.is_none() {
        return Ok(());
    }
    let (_, shown) = PAGE.split_once("\n$ cargo run -p redis-lab\n").context("no run")?;
    let (shown, _) = shown.split_once("\n```\n").context("the block does not end")?;
    let mut lab = lab("");
    lab.envs([("CLICOLOR_FORCE", "1"), ("LC_ALL", "C.UTF-8")]);
    let (printed, status) = Program::start(lab)?.end()?;
    ensure!(status.success(), "{status}: {printed:#?}");
    let printed = printed.join("\n");
    snapbox::assert_data_eq!(as_on_page(&printed), snapbox::Data::text(as_on_page(shown)).raw());
    Ok(())
}

#[test]
fn the_figures_come_out_as_the_page_says() -> Result<()> {
    if redis()?.is_none() {
        return Ok(());
    }
    for part in ["speed", "waiting", "rates"] {
        let (printed, status) = Program::start(lab(part))?.end()?;
        ensure!(status.success(), "{status}: {printed:#?}");
        let verdict = printed.last().context("it prints nothing")?;
        ensure!(PAGE.contains(verdict), "not on the page: {verdict}");
    }
    Ok(())
}

#[test]
fn a_missing_or_old_redis_is_one_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let old = script(folder.path(), "echo 'Redis server v=4.0.9 sha=0 malloc=libc bits=64'")?;
    let other = script(folder.path(), "echo 'nginx version: 1.2.3'")?;
    let ends = script(
        folder.path(),
        "[ \"$1\" = --version ] || echo no sentinel here > log; echo 'Redis server v=7.0.15'",
    )?;
    for (redis, expected) in [
        (
            "",
            "Error: cannot start redis-server: No such file or directory (os error 2); install it (Debian",
        ),
        ("/nonexistent", "Error: cannot start /nonexistent, which REDIS names: No such file"),
        (&*old, " is redis 4.0.9; this lab needs redis 6.2 or later, or any valkey"),
        (&*other, " is not a redis: its --version prints \"nginx version: 1.2.3\""),
        (&*ends, " has ended: no sentinel here"),
    ] {
        let mut lab = lab("sentinel");
        lab.env("REDIS", redis);
        if redis.is_empty() {
            lab.env("PATH", folder.path());
        }
        let (mut printed, status) = Program::start(lab)?.end()?;
        printed.retain(|line| !line.is_empty() && !line.starts_with(['r', '"']));
        ensure!(status.code() == Some(1) && printed.len() == 1, "{status}: {printed:#?}");
        ensure!(printed[0].contains(expected), "{}\nexpected: {expected}", printed[0]);
    }
    Ok(())
}

#[test]
fn a_killed_redis_is_one_error_and_leaves_nothing() -> Result<()> {
    let Some(redis) = redis()? else { return Ok(()) };
    let servers = Servers::new(&redis)?;
    let lab = Program::start(servers.lab("sentinel"))?;
    while !lab.line()?.context("it has ended")?.contains("WAIT 1 1000") {}
    signal("KILL", servers.started()?[0])?; // the primary
    let (printed, status) = lab.end()?;
    let error = printed.last().context("it prints nothing")?;
    let expected = error.starts_with("Error: redis at 127.0.0.1:")
        && error.contains(" has ended, or does not reply to \"");
    ensure!(status.code() == Some(1) && expected, "{status}: {printed:#?}");
    servers.nothing_is_left()
}

#[test]
fn a_killed_lab_leaves_nothing() -> Result<()> {
    let Some(redis) = redis()? else { return Ok(()) };
    for name in ["KILL", "INT"] {
        let servers = Servers::new(&redis)?;
        let lab = Program::start(servers.lab("sentinel"))?;
        while !lab.line()?.context("it has ended")?.contains("INCR token") {}
        ensure!(servers.started()?.len() == 5, "a primary, a replica, three sentinels");
        signal(name, lab.id())?;
        lab.end()?;
        servers.nothing_is_left()?;
    }
    Ok(())
}

/// The servers that a lab starts, which write down their process ids.
struct Servers {
    redis: String,
    folder: TempDir,
}

impl Servers {
    fn new(redis: &str) -> Result<Servers> {
        let folder = tempfile::tempdir()?;
        let ids = folder.path().join("ids");
        fs::create_dir(folder.path().join("tmp"))?;
        let text =
            format!("[ \"$1\" = --version ] || echo $$ >> {}\nexec {redis} \"$@\"", ids.display());
        Ok(Servers { redis: script(folder.path(), &text)?, folder })
    }

    fn lab(&self, part: &str) -> Command {
        let mut lab = lab(part);
        lab.env("REDIS", &self.redis).env("TMPDIR", self.folder.path().join("tmp"));
        lab
    }

    fn started(&self) -> Result<Vec<u32>> {
        let ids = fs::read_to_string(self.folder.path().join("ids"))?;
        ids.lines().map(|id| Ok(id.parse()?)).collect()
    }

    fn nothing_is_left(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let tmp = self.folder.path().join("tmp");
        let runs = |id: &u32| signal("0", *id).is_ok();
        while self.started()?.iter().any(runs) || fs::read_dir(&tmp)?.next().is_some() {
            ensure!(Instant::now() < deadline, "a server or a folder is left");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Returns the command that runs a part of the lab.
fn lab(part: &str) -> Command {
    let mut command = testing::command(env!("CARGO_BIN_EXE_redis-lab"));
    command.envs(env::var_os("REDIS").map(|redis| ("REDIS", redis)));
    command.args(Some(part).filter(|part| !part.is_empty()));
    command
}

/// Returns the redis of this machine. Without one, the tests are skipped; with `NO_SKIP` they fail.
fn redis() -> Result<Option<String>> {
    let names = ["redis-server", "valkey-server"].map(str::to_owned);
    let named = env::var("REDIS").ok().filter(|path| !path.is_empty());
    let works = |redis: &String| {
        let run = Command::new(redis).arg("--version").stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let found = named.into_iter().chain(names).find(works);
    if found.is_none() {
        ensure!(env::var_os("NO_SKIP").is_none(), "there is no redis-server and no valkey-server");
        // Not with a macro, whose output is shown only if the test fails.
        writeln!(stderr(), "\n*** SKIPPED: there is no redis-server and no valkey-server ***\n")?;
    }
    Ok(found)
}

/// Writes a shell script, and returns its path.
fn script(folder: &Path, text: &str) -> Result<String> {
    let count = fs::read_dir(folder)?.count();
    let path = folder.join(format!("redis{count}"));
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    path.into_os_string().into_string().ok().context("the path is not UTF-8")
}

/// Returns the lines without the differences that the page names: the version, the numbers with a
/// decimal point, the lengths in pictures, and the commands of newer servers.
fn as_on_page(text: &str) -> String {
    let lines = text.lines().skip(1).filter(|l| !l.contains("> DELEX") && !l.contains("> DELIFEQ"));
    lines.map(|line| without_figures(&without_times(line)) + "\n").collect()
}

fn without_figures(line: &str) -> String {
    let is_figure = |text: &str| text.contains('.') && text.parse::<f64>().is_ok();
    let words = line.split(' ').map(|word| {
        let bare = word.trim_end_matches([',', ';', ':']);
        if is_figure(bare) { word.replace(bare, "0.0") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}
