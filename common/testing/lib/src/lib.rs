//! For tests: runs the programs as a user does, and compares the READMEs with what the programs
//! print.

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
pub use machine::{TestMachine, program, program_at, program_with, root};
pub use places::Places;
pub use readme::{
    as_handed_out, follow, follow_exercises, follow_from_nothing, follow_sections, without_times,
};

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
    pub fn expect_success(self, expected: &[&str]) -> Result<()> {
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

/// Returns the command for any program, which gets little of the environment and ignores no signal.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    prepare();
    etcd_server::bare_command(program)
}

/// Makes this process fit for many tests at the same time, wherever it was started. [`command`] does it, too.
pub fn prepare() {
    static PREPARED: LazyLock<io::Result<()>> = LazyLock::new(|| {
        // A terminal of macOS allows 256 open files, until somebody asks for more.
        rlimit::increase_nofile_limit(4096)?;
        handle_signals()
    });
    if let Err(error) = &*PREPARED {
        eprintln!("cannot prepare for many tests: {error}");
    }
}

/// Ends the tests after Ctrl-C, as if nothing were done about it. But a program ignores the signals that the tests
/// ignore, as they do in a script after `cargo test &`, and not those that the tests handle.
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

/// Sends a signal, named as for `kill`.
pub fn signal(name: &str, process: u32) -> Result<()> {
    // The shell has `kill` built in; not every system has it as a program.
    let kill = format!("kill -{name} {process}");
    let status = command("sh").args(["-c", &kill]).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{kill} failed");
    Ok(())
}
