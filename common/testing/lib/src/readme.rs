//! Follows the console blocks of a README, as a reader would.
//!
//! A line that begins with `$ ` is a command. The lines below it are what the terminal shows. These
//! commands are known, and may be joined by `&&`:
//!
//! - `cargo run -p NAME`, with variables before it and arguments behind it
//! - `export VARIABLE=VALUE`, for all terminals
//! - `kill NUMBER`, `kill -9 NUMBER`
//! - `rm -r target/etcd`
//! - `sleep SECONDS`, and `fg` after `^Z`
//!
//! A line of its own above a block names its terminal: `**First terminal:**`, `**Second terminal:**`
//! or `**Third terminal:**`. The last command of a block keeps running while the blocks of later
//! terminals below it are followed. At the end of a command's lines, `^C` and `^Z` are pressed when
//! the lines above are there. `Killed` is what a shell shows of a program that another terminal has
//! killed, when those lines are there.
//!
//! Where a line has signs of a picture, equal ones in a row count as one: they come in the same order at each
//! run, but a moment earlier or later.
//!
//! The section *Exercises* is followed on its own. Without an argument an exercise tries a file that
//! students edit. So that they cannot turn a test red, the tests try the answer `mistake`, which
//! is that file as it was handed out, unless `EVERY_ANSWER` is set.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etcd_server::metric;

use crate::{PATIENCE, Places, Program, TestMachine, root, signal};

/// The process number of the server in the texts; 4243 is the one started next.
const FIRST_SERVER: usize = 4242;

/// That of the first member of a cluster that leads.
const FIRST_MEMBER: usize = 4301;

/// That of the first program that says how to kill it.
const FIRST_PROGRAM: usize = 4401;

const CLUSTER: &str = "-p etcd-server";

/// The options that build programs with TLS.
const TLS: [&str; 2] = [" --features common/tls", " --features tls"];

/// Follows a chapter's README, up to its exercises, on a machine where an etcd runs already. What the
/// README quotes must stand in the program's source.
pub fn follow(chapter: &str) -> Result<()> {
    follow_with_server(&checked(chapter)?)
}

/// Follows each section of a chapter's README on an etcd of its own, all at the same time: that saves
/// time where programs wait for a TTL.
pub fn follow_sections(chapter: &str) -> Result<()> {
    let readme = checked(chapter)?;
    let sections = readme.split("\n## ").filter(|section| section.contains("```console"));
    thread::scope(|scope| {
        let threads: Vec<_> =
            sections.map(|section| scope.spawn(|| follow_with_server(section))).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(())
    })
}

/// Follows the exercises on the page of a chapter, which has these. What it quotes must stand in an experiment.
pub fn follow_exercises(chapter: &str, exercises: &[&str]) -> Result<()> {
    let page = read(&format!("{chapter}/README.md"))?;
    let (_, page) = parts(&page);
    let experiment = |name| read(&format!("{chapter}/examples/{name}/experiment.rs"));
    let experiments: Vec<_> = exercises.iter().map(experiment).collect::<Result<_>>()?;
    check_quotes(page, &experiments.concat())?;
    follow_with_server(page)
}

/// Whether nobody works on the exercises here, so that all of them can be tried as they are handed out.
pub fn as_handed_out() -> bool {
    env::var_os("EVERY_ANSWER").is_some()
}

/// Returns the chapter's part of its README. What that quotes stands in the program.
fn checked(chapter: &str) -> Result<String> {
    let readme = read(&format!("{chapter}/README.md"))?;
    let (readme, _) = parts(&readme);
    check_quotes(readme, &read(&format!("{chapter}/src/main.rs"))?)?;
    Ok(readme.to_owned())
}

/// Returns a text of the workspace.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Returns the chapter and its exercises.
fn parts(readme: &str) -> (&str, &str) {
    readme.split_once("\n## Exercises\n").unwrap_or((readme, ""))
}

/// Checks that all that a README quotes stands in the source.
fn check_quotes(readme: &str, source: &str) -> Result<()> {
    let bare = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    for quote in readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        ensure!(bare(source).contains(&bare(quote)), "not in the source:\n{quote}");
    }
    Ok(())
}

fn follow_with_server(readme: &str) -> Result<()> {
    let mut machine = TestMachine::new()?;
    machine.start_server()?;
    follow_blocks(&mut machine, &blocks(readme)?)
}

/// Follows a page on a machine where no etcd runs yet: the blocks that use TLS, or all others.
pub fn follow_from_nothing(page: &str, tls: bool) -> Result<()> {
    let page = read(page)?;
    let mut blocks = blocks(&page)?;
    let mut uses_tls = false;
    blocks.retain(|block| {
        // The first terminal decides for the others.
        if block.terminal == 0 {
            uses_tls = block
                .sessions
                .iter()
                .any(|session| TLS.iter().any(|tls| session.command.contains(tls)));
        }
        uses_tls == tls
    });
    follow_blocks(&mut TestMachine::new()?, &blocks)
}

fn follow_blocks(machine: &mut TestMachine, blocks: &[Block]) -> Result<()> {
    ensure!(!blocks.is_empty(), "the README has no console block");
    follow_beside(machine, blocks, &mut Vec::new())
}

/// Follows blocks while these programs run in other terminals.
fn follow_beside<'a>(
    machine: &mut TestMachine,
    mut blocks: &'a [Block<'a>],
    others: &mut Vec<Running<'a>>,
) -> Result<()> {
    while let [block, rest @ ..] = blocks {
        let beside = rest.iter().take_while(|next| next.terminal > block.terminal).count();
        let (beside, rest) = rest.split_at(beside);
        if let ([before @ .., last], false) = (&block.sessions[..], beside.is_empty()) {
            run_commands(machine, before, others)?;
            let mut running = Running::start(machine, last, last.command)?;
            running.until_ready(machine)?;
            others.push(running);
            follow_beside(machine, beside, others)?;
            let shown = others.pop().context("no such terminal")?.end(machine)?;
            compare(last, shown);
        } else {
            run_commands(machine, &block.sessions, others)?;
        }
        if block.terminal == 0 {
            machine.cluster = Cluster::default();
        }
        blocks = rest;
    }
    Ok(())
}

/// Types the commands, one after the other.
fn run_commands<'a>(
    machine: &mut TestMachine,
    sessions: &'a [Session<'a>],
    others: &mut [Running<'a>],
) -> Result<()> {
    let mut suspended: Option<Running> = None;
    for session in sessions {
        let mut shown = Vec::new();
        for typed in session.command.split(" && ") {
            if let Some(kill) = typed.strip_prefix("kill ") {
                let (name, number) = match kill.strip_prefix("-9 ") {
                    Some(number) => ("KILL", number),
                    None => ("TERM", kill),
                };
                send(machine, name, number.parse()?, others)?;
            } else if let Some(variable) = typed.strip_prefix("export ") {
                machine.cluster.export(variable)?;
            } else if let Some(seconds) = typed.strip_prefix("sleep ") {
                sleep(Duration::from_secs(seconds.parse()?));
            } else if typed == "rm -r target/etcd" {
                fs::remove_dir_all(etcd_server::background_data(machine.address))?;
            } else if typed == "fg" {
                let mut running = suspended.take().context("nothing is suspended")?;
                signal("CONT", running.program.id())?;
                running.session = session;
                shown.extend(running.end(machine)?);
            } else {
                let mut running = Running::start(machine, session, typed)?;
                if session.output.last() == Some(&"^Z") {
                    running.until(machine, session.output.len() - 1)?;
                    signal("STOP", running.program.id())?;
                    shown.extend(running.take(machine));
                    shown.push("^Z".to_owned());
                    suspended = Some(running);
                } else {
                    shown.extend(running.end(machine)?);
                }
            }
        }
        compare(session, shown);
    }
    Ok(())
}

/// Sends a signal to the process that has this number in the README, when the moment has come.
fn send(
    machine: &mut TestMachine,
    name: &str,
    number: usize,
    others: &mut [Running],
) -> Result<()> {
    if let Some(&program) = machine.programs.get(number.wrapping_sub(FIRST_PROGRAM)) {
        let mut others = others.iter_mut();
        let running = others.find(|other| other.program.id() == program);
        let running = running.context("it runs in no other terminal")?;
        running.until(machine, running.session.output.len() - 1)?;
        return signal(name, program);
    }
    if let Some(&member) = machine.cluster.processes.get(number.wrapping_sub(FIRST_MEMBER)) {
        let up = machine.cluster.count();
        signal(name, member)?;
        return until("a member is gone", || Ok(machine.cluster.count() < up));
    }
    if !others.is_empty() {
        wait_for_stream(machine)?;
    }
    let server =
        machine.servers.get(number.wrapping_sub(FIRST_SERVER)).context("no such server")?;
    signal(name, *server)?;
    until("the port is closed", || Ok(TcpStream::connect(machine.address).is_err()))
}

/// A program in a terminal.
struct Running<'a> {
    session: &'a Session<'a>,
    program: Program,
    /// For an experiment.
    _place: Option<Places>,
    /// The lines that it has shown so far.
    lines: Vec<String>,
}

/// Waits until the program in the first terminal has a stream open for a watch or for renewals. So it
/// meets the end of the server at the point that the README describes.
fn wait_for_stream(machine: &TestMachine) -> Result<()> {
    let streams = |what: &'static str| {
        metric(machine.address, move |line| line.starts_with(what) && line.contains("bidi_stream"))
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

impl<'a> Running<'a> {
    fn start(machine: &TestMachine, session: &'a Session<'a>, typed: &str) -> Result<Running<'a>> {
        let _place = typed.split(' ').any(is_exercise).then(Places::one);
        let program = Program::start(command(machine, typed)?)?;
        Ok(Running { session, program, _place, lines: Vec::new() })
    }

    /// Waits until it is ready for what happens next. A cluster is when it says which member leads, and
    /// any other program with its first line that is not a notice.
    fn until_ready(&mut self, machine: &mut TestMachine) -> Result<()> {
        let is_cluster = self.session.command.contains(CLUSTER);
        loop {
            self.until(machine, self.lines.len() + 1)?;
            let line = self.lines.last().map_or("", String::as_str);
            let ready = match is_cluster {
                true => line.contains(" leads; "),
                false => !line.starts_with("starting etcd ") && !line.contains("kill "),
            };
            if ready {
                return Ok(());
            }
        }
    }

    /// Waits until it has shown so many lines.
    fn until(&mut self, machine: &mut TestMachine, count: usize) -> Result<()> {
        while self.lines.len() < count {
            let line = self.program.line()?;
            let line = line.with_context(|| format!("it ended after {:#?}", self.lines))?;
            machine.note(&line);
            self.lines.push(line);
        }
        Ok(())
    }

    /// Returns what it has shown, as the README has it.
    fn take(&mut self, machine: &TestMachine) -> Vec<String> {
        self.lines.drain(..).map(|line| normalized(machine, line)).collect()
    }

    /// Waits for its end. Returns what it has shown, as the README has it.
    fn end(mut self, machine: &mut TestMachine) -> Result<Vec<String>> {
        let last = *self.session.output.last().unwrap_or(&"");
        if last == "^C" {
            self.until(machine, self.session.output.len() - 1)?;
            self.program.interrupt()?;
        }
        let Running { session, program, mut lines, _place } = self;
        let (rest, status) = program.end()?;
        rest.iter().for_each(|line| machine.note(line));
        lines.extend(rest);
        if let "^C" | "Killed" = last {
            lines.push(last.to_owned());
        } else {
            let failed =
                |line: &String| line.starts_with("Error: ") || line.starts_with("broken: ");
            let code = i32::from(lines.iter().any(failed));
            ensure!(status.code() == Some(code), "{}: {status}\n{lines:#?}", session.command);
        }
        Ok(lines.into_iter().map(|line| normalized(machine, line)).collect())
    }
}

/// Returns the command that was typed, without the build.
fn command(machine: &TestMachine, typed: &str) -> Result<Command> {
    let mut words = typed.split(' ').peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        let (name, value) = variable.split_once('=').context("no variable")?;
        variables.push((name, value.replace(":2379", &format!(":{}", machine.address.port()))));
    }
    let words: Vec<&str> = words.collect();
    // All programs are built already, so `--features` is left out.
    let words = TLS.iter().fold(words.join(" "), |words, tls| words.replacen(tls, "", 1));
    let words: Vec<&str> = words.split(' ').collect();
    let name;
    let (program, rest) = match &words[..] {
        ["cargo", "progress", "solution", exercise] => ("answers", &[*exercise, "solution"][..]),
        // Students edit what this tries.
        ["cargo", "run", "-p", _, "--example", exercise]
            if is_exercise(exercise) && !as_handed_out() =>
        {
            ("answers", &[*exercise, "mistake"][..])
        }
        ["cargo", "run", "-p", _, "--example", example, rest @ ..] => {
            name = format!("examples/{example}");
            (&*name, rest)
        }
        ["cargo", "run", "-p", name, rest @ ..] => (*name, rest),
        _ => bail!("cannot type {typed:?}"),
    };
    let mut command = machine.command(program)?;
    command.args(rest.strip_prefix(&["--"]).unwrap_or(rest)).envs(variables);
    Ok(command)
}

/// Whether this is the name of an exercise.
fn is_exercise(word: &str) -> bool {
    root().join("common/answers").join(word).join("mistake.rs").exists()
}

/// Returns the line as the README has it: with port 2379, its own process numbers, and a target folder
/// in the workspace.
fn normalized(machine: &TestMachine, line: String) -> String {
    let data = etcd_server::background_data(machine.address).display().to_string();
    let port = machine.address.port();
    let mut line = line
        .replace(&data, "target/etcd")
        .replace(&format!(":{port}"), ":2379")
        .replace(&format!("etcd-{port}"), "etcd");
    let servers = machine.servers.iter().zip(FIRST_SERVER..);
    for (process, number) in servers.chain(machine.programs.iter().zip(FIRST_PROGRAM..)) {
        for kill in ["kill", "kill -9"] {
            line = line.replace(&format!("{kill} {process}"), &format!("{kill} {number}"));
        }
    }
    machine.cluster.normalized(&line)
}

fn compare(session: &Session, shown: Vec<String>) {
    let text = |lines: Vec<String>| format!("$ {}\n{}\n", session.command, lines.join("\n"));
    let readme = text(session.output.iter().map(|line| without_times(line)).collect());
    let shown = text(shown.iter().map(|line| without_times(line)).collect());
    snapbox::assert_data_eq!(shown, snapbox::Data::text(readme).raw());
}

/// Returns a line of a picture as it is at every run: a sign for each run of equal ones, and the scale
/// without its numbers. Returns any other line as it is.
pub fn without_times(line: &str) -> String {
    let is_scale = |rest: &str| rest.split_whitespace().all(|word| word.parse::<u32>().is_ok());
    if line.starts_with("  ") && line.strip_suffix(" s").is_some_and(is_scale) {
        return "0 s".to_owned();
    }
    let mut signs: Vec<char> = line.chars().collect();
    // Lines, blocks and other shapes.
    if signs.iter().any(|sign| ('\u{2500}'..='\u{25ff}').contains(sign)) {
        signs.dedup_by(|sign, before| sign == before && !sign.is_alphanumeric());
    }
    signs.into_iter().collect()
}

/// What a cluster in the first terminal has printed.
#[derive(Default)]
pub struct Cluster {
    /// The variables that it has printed for the other terminals.
    printed: Vec<(String, String)>,
    /// The variables that have been set there.
    pub exported: Vec<(String, String)>,
    /// The processes of the members that have led, in that order.
    processes: Vec<u32>,
}

impl Cluster {
    pub(crate) fn note(&mut self, line: &str) {
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

    /// Sets a variable in all other terminals. The cluster must have printed it.
    fn export(&mut self, variable: &str) -> Result<()> {
        let is = |(name, value): &&(String, String)| {
            self.normalized(&format!("{name}={value}")) == variable
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

    /// Returns how many of the members can be reached.
    fn count(&self) -> usize {
        self.addresses().filter(|address| TcpStream::connect(address).is_ok()).count()
    }

    /// Returns the line with the README's ports, process numbers and folder.
    fn normalized(&self, line: &str) -> String {
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

fn blocks(readme: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    // The last line of text above a block.
    let mut above = "";
    while let Some(line) = lines.next() {
        if !line.starts_with("```console") {
            above = if line.is_empty() { above } else { line };
            continue;
        }
        ensure!(line == "```console", "{line}: name the terminal in a line above the block");
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
        let later = ["**Second terminal:**", "**Third terminal:**"];
        let terminal = later.iter().position(|label| *label == above);
        blocks.push(Block { terminal: terminal.map_or(0, |index| index + 1), sessions });
        above = "";
    }
    Ok(blocks)
}
