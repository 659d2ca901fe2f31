//! For tests: runs the programs as a user does, and compares the READMEs with what the programs
//! print.

mod cluster;
mod links;
mod machine;
mod places;
mod readme;

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio, exit};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Builder;
use tokio::signal::unix::{self, SignalKind};

pub use links::check_links;
pub use machine::{TestMachine, build, program, program_at, program_with, root};
pub use places::Places;
pub use readme::{
    check_quotes, follow, follow_exercises, follow_from_nothing, follow_sections, without_times,
    yours_are_original,
};

/// How long a test waits for an event. Only a broken program takes that long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program and its output: stdout and stderr, in the order of writing. Dropping it kills
/// the program.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts a program.
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

    /// Waits for the next line. Fails if it isn't the `expected` one.
    pub fn expect(&self, expected: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line.as_deref() == Some(expected), "expected {expected:?}, got {line:?}");
        Ok(())
    }

    /// Waits until the program ends. Returns the lines that were not read yet, and the status.
    pub fn end(mut self) -> Result<(Vec<String>, ExitStatus)> {
        let mut rest = Vec::new();
        while let Some(line) = self.line()? {
            rest.push(line);
        }
        Ok((rest, self.child.wait()?))
    }

    /// Waits until the program ends. Fails unless its status is 0 and the lines that were not read
    /// yet are the `expected` ones.
    pub fn expect_success(self, expected: &[&str]) -> Result<()> {
        let (lines, status) = self.end()?;
        ensure!(status.success() && lines == expected, "{status}: {lines:#?}");
        Ok(())
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        signal("INT", self.child.id())
    }

    /// Returns the id of the process.
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

/// Returns the command that runs any program, with little of the environment and no ignored
/// signals.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    prepare();
    etcd_server::bare_command(program)
}

/// Prepares this process for many tests at the same time, wherever it was started. [`command`]
/// calls it, too.
pub fn prepare() {
    static PREPARED: LazyLock<io::Result<()>> = LazyLock::new(|| {
        // A terminal of macOS allows only 256 open files unless a program asks for more.
        rlimit::increase_nofile_limit(4096)?;
        handle_signals()
    });
    if let Err(error) = &*PREPARED {
        eprintln!("cannot prepare for many tests: {error}");
    }
}

/// Ends the tests after Ctrl-C or Ctrl-\, which would end them anyway. But in a script, `cargo test
/// &` lets the tests ignore these signals, and every program that they start would inherit that.
/// Programs don't inherit signals that are handled.
fn handle_signals() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let in_runtime = runtime.enter();
    let mut interrupt = unix::signal(SignalKind::interrupt())?;
    let mut quit = unix::signal(SignalKind::quit())?;
    drop(in_runtime);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => exit(130),
                _ = quit.recv() => exit(131),
            }
        })
    });
    Ok(())
}

/// Sends a process the signal with this name, such as `INT`.
pub fn signal(name: &str, process: u32) -> Result<()> {
    // Every shell has `kill` built in, but not every system has it as a program.
    let kill = format!("kill -{name} {process}");
    let status = command("sh").args(["-c", &kill]).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{kill} failed");
    Ok(())
}
