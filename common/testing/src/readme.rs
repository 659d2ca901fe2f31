//! A README's console blocks, followed as a reader would.
//!
//! A line that begins with `$ ` is a command, the lines below it are what the
//! terminal shows. The commands are `cargo run -p NAME`, with variables before and
//! arguments behind it, `export VARIABLE=VALUE` (for all terminals), `kill NUMBER`
//! and `kill -9 NUMBER`, joined by `&&` if need be. The last command of a block marked
//! `console first` goes on while the blocks marked `console second` below it are
//! followed in another terminal, and so on with `console third`; `^C` at its end is
//! pressed when the lines above it are there.
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

/// That of the first member of a cluster that leads.
const FIRST_MEMBER: usize = 4301;

const CLUSTER: &str = "-p etcd-server";

/// What the programs are built with for TLS.
const TLS: [&str; 2] = [" --features common/tls", " --features tls"];

/// Follows a chapter's README, up to its exercises, where an etcd runs already. What
/// it quotes of the program must stand there.
pub fn follow(readme: &str, program: &str) -> Result<()> {
    let (chapter, _) = parts(readme);
    follow_quoting(chapter, program)
}

/// The same up to *What can go wrong*, and (below) from there on: two tests save time.
pub fn follow_the_good(readme: &str, program: &str) -> Result<()> {
    follow(readme.split_once(WRONG).context("no such heading")?.0, program)
}

pub fn follow_the_bad(readme: &str, program: &str) -> Result<()> {
    follow(readme.split_once(WRONG).context("no such heading")?.1, program)
}

const WRONG: &str = "\n## What can go wrong\n";

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
        let exercise = line.contains(" --example ") && !line.contains(CLUSTER);
        let bare = exercise && !line.contains(" -- ");
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

/// Follows the README where no etcd runs yet: what needs the feature `tls`, or all the rest.
pub fn follow_from_nothing(readme: &str, tls: bool) -> Result<()> {
    let readme = with_mistakes(readme);
    let mut blocks = blocks(&readme);
    let mut uses_tls = false;
    blocks.retain(|block| {
        // What the first terminal does says it for the others.
        if block.terminal == 0 {
            uses_tls = block
                .sessions
                .iter()
                .any(|session| TLS.iter().any(|tls| session.command.contains(tls)));
        }
        uses_tls == tls
    });
    follow_blocks(&mut Desk::new()?, &blocks)
}

fn follow_at(desk: &mut Desk, readme: &str) -> Result<()> {
    follow_blocks(desk, &blocks(readme))
}

fn follow_blocks(desk: &mut Desk, mut blocks: &[Block]) -> Result<()> {
    ensure!(!blocks.is_empty(), "the README has no console block");
    while let [block, rest @ ..] = blocks {
        let beside = rest.iter().take_while(|next| next.terminal > block.terminal).count();
        let (beside, rest) = rest.split_at(beside);
        if let ([before @ .., last], false) = (&block.sessions[..], beside.is_empty()) {
            type_in(desk, before, block.terminal)?;
            let program = Program::start(command(desk, last.command)?)?;
            let lines = until_ready(desk, last, &program)?;
            follow_blocks(desk, beside)?;
            let shown = watch(desk, last, program, lines)?;
            compare(last, shown);
        } else {
            type_in(desk, &block.sessions, block.terminal)?;
        }
        if block.terminal == 0 {
            desk.cluster = Cluster::default();
        }
        blocks = rest;
    }
    Ok(())
}

/// Reads the lines that tell that a program is ready for what happens next. A cluster is when it
/// says who leads, any other program with its first line.
fn until_ready(desk: &mut Desk, session: &Session, program: &Program) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let line = program.line()?.with_context(|| format!("it ended after {lines:#?}"))?;
        let ready = !session.command.contains(CLUSTER) || line.contains(" leads; ");
        desk.cluster.note(&line);
        lines.push(line);
        if ready {
            return Ok(lines);
        }
    }
}

/// Types the commands, one after the other.
fn type_in(desk: &mut Desk, sessions: &[Session], terminal: usize) -> Result<()> {
    for session in sessions {
        let mut shown = Vec::new();
        for typed in session.command.split(" && ") {
            if let Some(kill) = typed.strip_prefix("kill ") {
                let (name, number) = match kill.strip_prefix("-9 ") {
                    Some(number) => ("KILL", number),
                    None => ("TERM", kill),
                };
                let number = number.parse::<usize>()?;
                if let Some(member) = desk.cluster.processes.get(number.wrapping_sub(FIRST_MEMBER))
                {
                    let up = desk.cluster.count();
                    signal(name, *member)?;
                    until("a member is gone", || Ok(desk.cluster.count() < up))?;
                    continue;
                }
                if terminal > 0 {
                    wait_for_stream(desk)?;
                }
                let server = number.wrapping_sub(FIRST_SERVER);
                signal(name, *desk.servers.get(server).context("no such server")?)?;
                until("the port is closed", || Ok(TcpStream::connect(desk.address).is_err()))?;
            } else if let Some(variable) = typed.strip_prefix("export ") {
                desk.cluster.export(variable)?;
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
    // It is built with that feature already, or else says that it takes it.
    let words = TLS.iter().fold(words.join(" "), |words, tls| words.replacen(tls, "", 1));
    let words: Vec<&str> = words.split(' ').collect();
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
    desk.note_server(&line);
    if let Some(rest) = line.strip_prefix("started etcd ") {
        let version = rest.split(' ').next().unwrap_or_default().to_owned();
        if env::var_os("ETCD").is_some() {
            line = line.replacen(&version, "3.7.2", 1);
        }
    }
    let port = desk.address.port();
    line = line.replace(&format!(":{port}"), ":2379").replace(&format!("etcd-{port}"), "etcd");
    for (server, number) in desk.servers.iter().zip(FIRST_SERVER..) {
        line = line.replace(&format!("kill {server}"), &format!("kill {number}"));
    }
    desk.cluster.note(&line);
    desk.cluster.as_in_readme(&line)
}

fn compare(session: &Session, shown: Vec<String>) {
    let readme = format!("$ {}\n{}\n", session.command, session.output.join("\n"));
    let shown = format!("$ {}\n{}\n", session.command, shown.join("\n"));
    snapbox::assert_data_eq!(shown, snapbox::Data::text(readme).raw());
}

/// What a cluster in the first terminal has said of itself.
#[derive(Default)]
pub struct Cluster {
    /// The variables for the other terminals.
    printed: Vec<(String, String)>,
    /// Those that have been set there.
    pub exported: Vec<(String, String)>,
    /// The members that have led, in that order.
    processes: Vec<u32>,
}

impl Cluster {
    fn note(&mut self, line: &str) {
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|e| e.split_once('=')) {
            self.printed.push((name.to_owned(), value.to_owned()));
        }
        let leader = line.strip_prefix("process ").and_then(|rest| rest.split_once(" leads; "));
        if let Some(leader) = leader.and_then(|(number, _)| number.parse().ok())
            && !self.processes.contains(&leader)
        {
            self.processes.push(leader);
        }
    }

    /// Sets a variable, which must be one that the cluster has printed.
    fn export(&mut self, variable: &str) -> Result<()> {
        let is = |(name, value): &&(String, String)| {
            self.as_in_readme(&format!("{name}={value}")) == variable
        };
        let printed = self.printed.iter().find(is);
        let printed = printed.with_context(|| format!("the cluster has not printed {variable}"))?;
        self.exported.push(printed.clone());
        Ok(())
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        let lists = self.printed.iter().filter(|(name, _)| name == "ETCDCTL_ENDPOINTS");
        let endpoints = lists.flat_map(|(_, list)| list.split(','));
        endpoints.map(|endpoint| endpoint.trim_start_matches("https://"))
    }

    /// How many of the members can be reached.
    fn count(&self) -> usize {
        self.addresses().filter(|address| TcpStream::connect(address).is_ok()).count()
    }

    /// With the README's ports, process numbers and folder.
    fn as_in_readme(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (address, port) in self.addresses().zip(10_001..) {
            line = line.replace(address, &format!("127.0.0.1:{port}"));
        }
        for (process, number) in self.processes.iter().zip(FIRST_MEMBER..) {
            line = line.replace(&format!("process {process} "), &format!("process {number} "));
            line = line.replace(&format!("-9 {process}"), &format!("-9 {number}"));
        }
        for (_, path) in self.printed.iter().filter(|(_, value)| value.starts_with('/')) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            line = line.replace(folder, "/tmp/cluster");
        }
        line
    }
}

/// One console block.
struct Block<'a> {
    /// 0 is the first one.
    terminal: usize,
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
        let terminal = ["second", "third"].iter().position(|name| *name == terminal.trim());
        blocks.push(Block { terminal: terminal.map_or(0, |index| index + 1), sessions });
    }
    blocks
}
