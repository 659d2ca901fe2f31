//! Freezing a process, as SIGSTOP does.

use std::io::Read;
use std::process::{Child, Stdio};

use anyhow::{Result, bail};

use crate::launch::bare_command;

/// Freezes a process until the returned [`Frozen`] is dropped: it does nothing any more, but its
/// connections stay open.
///
/// # Errors
///
/// There is no such process, it is not ours to signal, or there is no `sh` (on Windows, for instance).
pub fn freeze(process: u32) -> Result<Frozen> {
    // The shell has `kill` built in; not every system has it as a program. The shell waits until
    // its input ends, so that the process is thawed even when this program is killed.
    let script =
        r#"trap "" HUP INT QUIT TERM; kill -STOP "$0" && echo && read -r _; kill -CONT "$0""#;
    let mut shell = bare_command("sh")
        .args(["-c", script, &process.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stopped = shell.stdout.take().map(|mut output| output.read_exact(&mut [0]));
    let frozen = Frozen(shell);
    match stopped {
        Some(Ok(())) => Ok(frozen),
        _ => bail!("cannot freeze process {process}: it has ended, or belongs to another account"),
    }
}

/// A frozen process. Dropping this thaws it.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
