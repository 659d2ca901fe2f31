//! Follows the console blocks of a README, as a reader would.
//!
//! A line that begins with `$ ` is a command, and the lines below it are what the terminal shows.
//! These commands are known, and may be joined by `&&`:
//!
//! - `cargo run -p NAME`, with variables before it and arguments after it
//! - `export VARIABLE=VALUE`, for all terminals
//! - `kill NUMBER`, `kill -9 NUMBER`
//! - `rm -r target/etcd`
//! - `sleep SECONDS`, and `fg` after `^Z`
//!
//! A line of its own above a block names its terminal: `**First terminal:**`,
//! `**Second terminal:**` or `**Third terminal:**`, or the same in Chinese. The last command of a
//! block keeps running while the blocks of later terminals below it are followed. At the end of a
//! command's lines, `^C` and `^Z` are pressed when the lines above are there. `Killed` is what a
//! shell shows of a program that another terminal has killed, when those lines are there.
//!
//! In a line of a picture, equal symbols in a row count as one: they come in the same order on
//! every run, but a moment earlier or later.
//!
//! A test of its own follows the section *Exercises*. There, the tests try the answer `mistake`
//! instead of `yours.rs`, so that they pass while a student edits that file. If `EVERY_ANSWER` is
//! set, nobody edits it, and they try `yours.rs`.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etcd_server::metric;

use crate::cluster::Cluster;
use crate::{PATIENCE, Places, Program, TestMachine, root, signal};

/// The process number of the first server on a page. The next one has 4243, and so on.
const FIRST_SERVER: usize = 4242;

/// The process number of the first leader of a cluster.
pub(crate) const FIRST_MEMBER: usize = 4301;

/// The process number of the first program that prints how to kill it.
const FIRST_PROGRAM: usize = 4401;

const CLUSTER: &str = "-p etcd-server";

/// The cargo options for programs with TLS.
const TLS: [&str; 2] = [" --features common/tls", " --features tls"];

/// Follows a chapter's README, up to its exercises, on a machine where an etcd runs already. Code
/// that the README quotes must be in the program.
pub fn follow(chapter: &str) -> Result<()> {
    follow_with_server(&checked(chapter)?)
}

/// Follows the sections of a chapter's README at the same time, each on an etcd of its own. That
/// saves time if programs wait for a TTL.
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

/// Follows the `exercises` on the page of a chapter. Code that their section quotes must be in an
/// experiment.
pub fn follow_exercises(chapter: &str, exercises: &[&str]) -> Result<()> {
    let page = read(&format!("{chapter}/README.md"))?;
    let (_, page) = parts(&page);
    let experiment = |name| read(&format!("{chapter}/examples/{name}/experiment.rs"));
    let experiments: Vec<_> = exercises.iter().map(experiment).collect::<Result<_>>()?;
    check_quotes(page, "rust", &experiments.concat())?;
    follow_with_server(page)
}

/// Returns whether each `yours.rs` must be the original, because nobody works on the exercises
/// here.
pub fn yours_are_original() -> bool {
    env::var_os("EVERY_ANSWER").is_some()
}

/// Returns a chapter's README without the exercises. Checks its quotes.
fn checked(chapter: &str) -> Result<String> {
    let readme = read(&format!("{chapter}/README.md"))?;
    let (readme, _) = parts(&readme);
    check_quotes(readme, "rust", &read(&format!("{chapter}/src/main.rs"))?)?;
    Ok(readme.to_owned())
}

/// Returns the text of a file in the workspace.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Splits a README into the chapter and its exercises.
fn parts(readme: &str) -> (&str, &str) {
    readme.split_once("\n## Exercises\n").unwrap_or((readme, ""))
}

/// Checks that the source contains all blocks of this language in a README.
pub fn check_quotes(readme: &str, language: &str, source: &str) -> Result<()> {
    let unindented = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let fence = format!("```{language}\n");
    for quote in readme.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()) {
        ensure!(unindented(source).contains(&unindented(quote)), "not in the source:\n{quote}");
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
            running.wait_until_ready(machine)?;
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

/// Runs the commands of one terminal one after the other.
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
                    running.wait_for_lines(machine, session.output.len() - 1)?;
                    signal("STOP", running.program.id())?;
                    shown.extend(running.shown_so_far(machine));
                    shown.push("^Z".to_owned());
                    suspended = Some(running);
                } else {
                    shown.extend(running.end_with_verdict(machine, typed)?);
                }
            }
        }
        compare(session, shown);
    }
    Ok(())
}

/// Sends a signal to the process with this number in the README, as soon as the process has shown
/// what the README shows.
fn send(
    machine: &mut TestMachine,
    name: &str,
    number: usize,
    others: &mut [Running],
) -> Result<()> {
    if let Some(&program) = machine.programs.get(number.wrapping_sub(FIRST_PROGRAM)) {
        let mut others = others.iter_mut();
        let running = others.find(|other| other.program.id() == program);
        let running = running.context("no other terminal runs this process")?;
        running.wait_for_lines(machine, running.session.output.len() - 1)?;
        return signal(name, program);
    }
    if let Some(&member) = machine.cluster.processes.get(number.wrapping_sub(FIRST_MEMBER)) {
        let up = machine.cluster.count();
        signal(name, member)?;
        return wait_until("a member is gone", || Ok(machine.cluster.count() < up));
    }
    if !others.is_empty() {
        wait_for_stream(machine)?;
    }
    let server =
        machine.servers.get(number.wrapping_sub(FIRST_SERVER)).context("no such server")?;
    signal(name, *server)?;
    wait_until("the port is closed", || Ok(TcpStream::connect(machine.address).is_err()))
}

/// A program in a terminal.
struct Running<'a> {
    session: &'a Session<'a>,
    program: Program,
    /// The place of an experiment among those that run at the same time.
    _place: Option<Places>,
    /// The lines that the program has shown so far.
    lines: Vec<String>,
}

/// Waits until the program in the first terminal has opened a stream for a watch or for renewals,
/// so that the server ends at the point that the README describes.
fn wait_for_stream(machine: &TestMachine) -> Result<()> {
    let streams = |what: &'static str| {
        metric(machine.address, move |line| line.starts_with(what) && line.contains("bidi_stream"))
    };
    wait_until("a stream is open", || {
        Ok(streams("grpc_server_started_total{")? > streams("grpc_server_handled_total{")?)
    })
}

fn wait_until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

impl<'a> Running<'a> {
    fn start(machine: &TestMachine, session: &'a Session<'a>, typed: &str) -> Result<Running<'a>> {
        Running::start_at(machine, session, typed, Places::one)
    }

    fn start_at(
        machine: &TestMachine,
        session: &'a Session<'a>,
        typed: &str,
        place: fn() -> Places,
    ) -> Result<Running<'a>> {
        let _place = typed.split(' ').any(is_exercise).then(place);
        let program = Program::start(command(machine, typed)?)?;
        Ok(Running { session, program, _place, lines: Vec::new() })
    }

    /// Waits until the other terminals can go on. A cluster is ready when it names its leader, any
    /// other program when it prints its first line that isn't a notice.
    fn wait_until_ready(&mut self, machine: &mut TestMachine) -> Result<()> {
        let is_cluster = self.session.command.contains(CLUSTER);
        loop {
            self.wait_for_lines(machine, self.lines.len() + 1)?;
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

    /// Waits until the program has shown `count` lines.
    fn wait_for_lines(&mut self, machine: &mut TestMachine, count: usize) -> Result<()> {
        while self.lines.len() < count {
            let line = self.program.line()?;
            let line = line.with_context(|| format!("it ended after {:#?}", self.lines))?;
            machine.note(&line);
            self.lines.push(line);
        }
        Ok(())
    }

    /// Returns the lines so far, normalized.
    fn shown_so_far(&mut self, machine: &TestMachine) -> Vec<String> {
        self.lines.drain(..).map(|line| normalized(machine, line)).collect()
    }

    /// Ends as [`end`](Running::end) does. If an experiment finds that the machine is too slow for
    /// a verdict, it is started again, alone, up to three times.
    fn end_with_verdict(self, machine: &mut TestMachine, typed: &str) -> Result<Vec<String>> {
        let session = self.session;
        let mut ended = self.end(machine);
        for _ in 0..3 {
            match ended {
                Err(error) if error.to_string().contains("no verdict: ") => {
                    let again = Running::start_at(machine, session, typed, Places::all)?;
                    ended = again.end(machine);
                }
                ended => return ended,
            }
        }
        ended
    }

    /// Waits for its end. Returns what it has shown, as the README has it.
    fn end(mut self, machine: &mut TestMachine) -> Result<Vec<String>> {
        let last = *self.session.output.last().unwrap_or(&"");
        if last == "^C" {
            self.wait_for_lines(machine, self.session.output.len() - 1)?;
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

/// Returns the command that runs what was typed. The programs are built already.
fn command(machine: &TestMachine, typed: &str) -> Result<Command> {
    let mut words = typed.split(' ').peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        let (name, value) = variable.split_once('=').context("no variable")?;
        variables.push((name, value.replace(":2379", &format!(":{}", machine.address.port()))));
    }
    let words = words.collect::<Vec<_>>().join(" ");
    let words = TLS.iter().fold(words, |words, tls| words.replacen(tls, "", 1));
    let words: Vec<&str> = words.split(' ').collect();
    let name;
    let (program, rest) = match &words[..] {
        ["cargo", "progress", "solution", exercise] => ("answers", &[*exercise, "solution"][..]),
        // Students edit the file that this command tries.
        ["cargo", "run", "-p", _, "--example", exercise]
            if is_exercise(exercise) && !yours_are_original() =>
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

/// Returns whether this is the name of an exercise.
fn is_exercise(word: &str) -> bool {
    root().join("common/answers").join(word).join("mistake.rs").exists()
}

/// Returns the line with the port, the process numbers and the target folder of the README.
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

/// Returns what is the same on every run in a line of a picture: one symbol for each row of equal
/// ones, and the scale without numbers. Any other line stays as it is.
pub fn without_times(line: &str) -> String {
    let is_scale = |rest: &str| rest.split_whitespace().all(|word| word.parse::<u32>().is_ok());
    if line.starts_with("  ") && line.strip_suffix(" s").is_some_and(is_scale) {
        return "0 s".to_owned();
    }
    let mut symbols: Vec<char> = line.chars().collect();
    // Unicode has its lines, blocks and geometric shapes here.
    if symbols.iter().any(|symbol| ('\u{2500}'..='\u{25ff}').contains(symbol)) {
        symbols.dedup_by(|symbol, before| symbol == before && !symbol.is_alphanumeric());
    }
    symbols.into_iter().collect()
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
        let later = [
            ["**Second terminal:**", "**第二个终端：**"],
            ["**Third terminal:**", "**第三个终端：**"],
        ];
        let terminal = later.iter().position(|labels| labels.contains(&above));
        blocks.push(Block { terminal: terminal.map_or(0, |index| index + 1), sessions });
        above = "";
    }
    Ok(blocks)
}
