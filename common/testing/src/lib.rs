//! For tests: runs the programs as a user does, and compares the READMEs with what the programs
//! print.

mod desk;
mod links;
mod readme;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use etcd_server::Server;

pub use desk::{Desk, answers_at, program_at, program_with};
pub use links::check_links;
pub use readme::{follow, follow_from_nothing, follow_sections, without_times};

/// How long a test waits for an event: 30 s. Only a broken program takes so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program, and what it shows on the terminal: stdout and stderr, in the order of writing.
/// Dropping it kills the program.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts the program that `command` describes.
    pub fn start(mut command: Command) -> Result<Program> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break; // the test has ended
                }
            }
        });
        Ok(Program { child, lines })
    }

    /// Waits for the next line. Returns `None` when the program has ended.
    pub fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("no line within {PATIENCE:?}"),
        }
    }

    /// Waits for the next line. It must be this one.
    pub fn expect(&self, expected: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line.as_deref() == Some(expected), "expected {expected:?}, got {line:?}");
        Ok(())
    }

    /// Waits for the end. Returns the lines that were not read yet, and the status.
    pub fn end(mut self) -> Result<(Vec<String>, ExitStatus)> {
        let mut rest = Vec::new();
        while let Some(line) = self.line()? {
            rest.push(line);
        }
        Ok((rest, self.child.wait()?))
    }

    /// Waits for the end. The status must be 0, and the lines that were not read yet must be these.
    pub fn end_well(self, expected: &[&str]) -> Result<()> {
        let (lines, status) = self.end()?;
        ensure!(status.success() && lines == expected, "{status}: {lines:#?}");
        Ok(())
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        signal("INT", self.child.id())
    }

    /// Returns the id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// Sends a signal, named as for `kill`.
pub fn signal(name: &str, process: u32) -> Result<()> {
    // The shell has `kill` built in; not every system has it as a program.
    let kill = format!("kill -{name} {process}");
    let status = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{kill} failed");
    Ok(())
}

/// Follows the exercises of the README, and runs exercises with these answers, such as `counter solution`.
/// The last line of each run must be the verdict that is named beside the answer, in which `[..]` stands for
/// anything, and the exit status must say the same. A hint follows a broken verdict, and no other.
///
/// All answers take minutes. So without the variable `EVERY_ANSWER`, only some of each exercise are tried: the
/// first two right ones and the first three wrong ones.
pub fn exercises(readme: &str, experiments: &[&str], verdicts: &[(&str, &str)]) -> Result<()> {
    let server = Server::start()?;
    let tried = |index: usize| {
        let kind = |(answer, verdict): &(&str, &str)| {
            (answer.split(' ').next().map(str::to_owned), verdict.starts_with("held"))
        };
        let this = kind(&verdicts[index]);
        let before = verdicts[..index].iter().filter(|other| kind(other) == this).count();
        readme::as_handed_out() || before < if this.1 { 2 } else { 3 }
    };
    thread::scope(|scope| {
        let mut runs = vec![scope.spawn(|| readme::follow_exercises(readme, experiments))];
        for index in (0..verdicts.len()).filter(|index| tried(*index)) {
            let server = &server;
            runs.push(scope.spawn(move || expect_verdict(server, &verdicts[index])));
        }
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// A place among the runs that go on at the same time. More of them would be late for what they stage.
struct Place;

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(8), Condvar::new());

impl Place {
    fn wait() -> Place {
        let (free, changed) = &FREE;
        let free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = changed.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (free, changed) = &FREE;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_one();
    }
}

fn expect_verdict(server: &Server, (answer, expected): &(&str, &str)) -> Result<()> {
    let (exercise, name) = answer.split_once(' ').context("which answer?")?;
    let mut command = answers_at(server, exercise)?;
    command.arg(name).env_remove("EXERCISE_PREFIX");
    let _place = Place::wait();
    let (mut lines, status) = Program::start(command)?.end()?;
    let code = match expected.split_once(": ") {
        Some(("held", _)) => 0,
        Some(("broken", _)) => 1,
        _ => 2,
    };
    let hint = lines.pop_if(|line| line.starts_with("look at "));
    let last = lines.last().map_or("", String::as_str);
    let same = match expected.split_once("[..]") {
        Some((start, end)) => last.starts_with(start) && last.ends_with(end),
        None => last == *expected,
    };
    ensure!(
        same && status.code() == Some(code) && hint.is_some() == (code == 1),
        "{answer}: {status}, {lines:#?}\nexpected: {expected}",
    );
    Ok(())
}

/// Adds up the lines of an etcd's metrics for which `counts` is true.
pub fn metric(server: SocketAddr, counts: impl Fn(&str) -> bool) -> Result<i64> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let mut sum = 0.0;
    for line in page.lines().filter(|line| counts(line)) {
        sum += line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(sum as i64)
}
