//! A README's console blocks, followed as a reader would.
//!
//! A line that begins with `$ ` is a command, the lines below it are what the
//! terminal shows. The commands are `cargo run -p NAME`, with variables before and
//! arguments behind it, `kill NUMBER` and `kill -9 NUMBER`, joined by `&&` if need
//! be. A block marked `console first` stays open while the blocks marked `console
//! second` below it are followed in another terminal; `^C` at its end is pressed
//! when the lines above it are there.
//!
//! The section *Exercises* is followed on its own. Without an argument an exercise
//! tries a file that students edit; so that they cannot turn a test red, the tests
//! try `mistake.rs` in its place, which is that file as it was handed out.

use std::env;
use std::net::TcpStream;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{Desk, PATIENCE, Program, metric, signal};

/// The process number of the server in the texts; 4243 is the one started next.
const FIRST_SERVER: usize = 4242;

/// Follows a chapter's README, up to its exercises, where an etcd runs already. What
/// it quotes of the program must stand there.
pub fn follow(readme: &str, program: &str) -> Result<()> {
    let (chapter, _) = parts(readme);
    follow_quoting(chapter, program)
}

/// Follows the exercises of a chapter. What they quote must stand in an experiment.
pub(crate) fn follow_exercises(readme: &str, experiments: &[&str]) -> Result<()> {
    let (_, exercises) = parts(readme);
    follow_quoting(&with_mistakes(exercises), &experiments.concat())
}

/// Follows the exercises as a student does who has not edited anything yet.
pub fn follow_untouched(readme: &str) -> Result<()> {
    let mut desk = Desk::new()?;
    desk.start_server()?;
    follow_at(&mut desk, parts(readme).1)
}

/// The chapter and its exercises.
fn parts(readme: &str) -> (&str, &str) {
    readme.split_once("\n## Exercises\n").unwrap_or((readme, ""))
}

/// The README with `-- mistake` behind each exercise that has no argument.
fn with_mistakes(readme: &str) -> String {
    let line = |line: &str| {
        let bare = line.contains(" --example ") && !line.contains(" -- ");
        format!("{line}{}\n", if bare { " -- mistake" } else { "" })
    };
    readme.lines().map(line).collect()
}

fn follow_quoting(readme: &str, source: &str) -> Result<()> {
    let bare = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    for quote in readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        ensure!(bare(source).contains(&bare(quote)), "not in the source:\n{quote}");
    }
    let mut desk = Desk::new()?;
    desk.start_server()?;
    follow_at(&mut desk, readme)
}

/// Follows the README where no etcd runs yet.
pub fn follow_from_nothing(readme: &str) -> Result<()> {
    follow_at(&mut Desk::new()?, &with_mistakes(readme))
}

fn follow_at(desk: &mut Desk, readme: &str) -> Result<()> {
    let blocks = blocks(readme);
    ensure!(!blocks.is_empty(), "the README has no console block");
    let mut blocks = blocks.iter().peekable();
    while let Some(block) = blocks.next() {
        match (block.terminal, &block.sessions[..]) {
            ("", sessions) => type_in(desk, sessions, false)?,
            ("first", [session]) => {
                let program = Program::start(command(desk, session.command)?)?;
                // Its first line tells that it is ready for what happens next.
                let line = program.line()?.context("it ended without a line")?;
                while let Some(second) = blocks.next_if(|next| next.terminal == "second") {
                    type_in(desk, &second.sessions, true)?;
                }
                let shown = watch(desk, session, program, vec![line])?;
                compare(session, shown);
            }
            other => bail!("cannot follow a block like {other:?}"),
        }
    }
    Ok(())
}

/// Types the commands, one after the other.
fn type_in(desk: &mut Desk, sessions: &[Session], beside_another: bool) -> Result<()> {
    for session in sessions {
        let mut shown = Vec::new();
        for typed in session.command.split(" && ") {
            if let Some(kill) = typed.strip_prefix("kill ") {
                if beside_another {
                    wait_for_stream(desk)?;
                }
                let (name, number) = match kill.strip_prefix("-9 ") {
                    Some(number) => ("KILL", number),
                    None => ("TERM", kill),
                };
                let server = number.parse::<usize>()?.wrapping_sub(FIRST_SERVER);
                signal(name, *desk.servers.get(server).context("no such server")?)?;
                until("the port is closed", || Ok(TcpStream::connect(desk.address).is_err()))?;
            } else {
                let program = Program::start(command(desk, typed)?)?;
                shown.extend(watch(desk, session, program, Vec::new())?);
            }
        }
        compare(session, shown);
    }
    Ok(())
}

/// Waits until the program in the first terminal has a watch or renewals open, and so
/// meets the end of the server in the place that the README is about.
fn wait_for_stream(desk: &Desk) -> Result<()> {
    let streams = |what: &'static str| {
        metric(desk.address, move |line| line.starts_with(what) && line.contains("bidi_stream"))
    };
    until("a stream is open", || {
        Ok(streams("grpc_server_started_total{")? > streams("grpc_server_handled_total{")?)
    })
}

fn until(what: &str, so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so()? {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits for the end of a program and returns what it has shown.
fn watch(
    desk: &mut Desk,
    session: &Session,
    program: Program,
    mut lines: Vec<String>,
) -> Result<Vec<String>> {
    let until_interrupt = session.output.iter().position(|line| *line == "^C");
    if let Some(count) = until_interrupt {
        while lines.len() < count {
            lines.push(program.line()?.context("it ended before Ctrl-C")?);
        }
        program.interrupt()?;
    }
    let (rest, status) = program.end()?;
    lines.extend(rest);
    if until_interrupt.is_some() {
        lines.push("^C".to_owned());
    } else {
        let failed = |line: &String| line.starts_with("Error: ") || line.starts_with("broken: ");
        let code = i32::from(lines.iter().any(failed));
        ensure!(status.code() == Some(code), "{}: {status}\n{lines:#?}", session.command);
    }
    Ok(lines.iter().map(|line| as_in_readme(desk, line)).collect())
}

/// The command as typed, less the build.
fn command(desk: &Desk, typed: &str) -> Result<Command> {
    let mut words = typed.split(' ').peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        let (name, value) = variable.split_once('=').context("no variable")?;
        variables.push((name, value.replace(":2379", &format!(":{}", desk.address.port()))));
    }
    let words: Vec<&str> = words.collect();
    let (name, rest) = match &words[..] {
        ["cargo", "run", "-p", _, "--example", name, rest @ ..] => {
            (format!("examples/{name}"), rest)
        }
        ["cargo", "run", "-p", name, rest @ ..] => ((*name).to_owned(), rest),
        _ => bail!("cannot type {typed:?}"),
    };
    let mut command = desk.command(&name)?;
    command.args(rest.strip_prefix(&["--"]).unwrap_or(rest)).envs(variables);
    Ok(command)
}

/// The line as the README has it: with port 2379, its own process numbers, and
/// the bundled etcd's version where `ETCD` names another.
fn as_in_readme(desk: &mut Desk, line: &str) -> String {
    let mut line = line.to_owned();
    if let Some((_, rest)) = line.split_once("started etcd ") {
        desk.note_server(&line);
        let version = rest.split(' ').next().unwrap_or_default().to_owned();
        if env::var_os("ETCD").is_some() {
            line = line.replacen(&version, "3.7.2", 1);
        }
    }
    let port = desk.address.port();
    line = line.replace(&format!(":{port}"), ":2379").replace(&format!("etcd-{port}"), "etcd");
    for (server, number) in desk.servers.iter().zip(FIRST_SERVER..) {
        line = line.replace(&format!("process {server},"), &format!("process {number},"));
        line = line.replace(&format!("kill {server}"), &format!("kill {number}"));
    }
    line
}

fn compare(session: &Session, shown: Vec<String>) {
    let readme = format!("$ {}\n{}\n", session.command, session.output.join("\n"));
    let shown = format!("$ {}\n{}\n", session.command, shown.join("\n"));
    snapbox::assert_data_eq!(shown, snapbox::Data::text(readme).raw());
}

/// One console block.
struct Block<'a> {
    /// `first`, `second`, or empty where one terminal is enough.
    terminal: &'a str,
    sessions: Vec<Session<'a>>,
}

/// A command and what it shows.
#[derive(Debug)]
struct Session<'a> {
    command: &'a str,
    output: Vec<&'a str>,
}

fn blocks(readme: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(terminal) = line.strip_prefix("```console") else {
            continue;
        };
        let mut sessions = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), sessions.last_mut()) {
                (Some(command), _) => sessions.push(Session { command, output: Vec::new() }),
                (None, Some(Session { output, .. })) => output.push(line),
                (None, None) => {
                    sessions.push(Session { command: line, output: Vec::new() });
                }
            }
        }
        blocks.push(Block { terminal: terminal.trim(), sessions });
    }
    blocks
}
