//! Freezing a process with SIGSTOP.

use std::io::Read;
use std::process::{Child, Stdio};

use anyhow::{Result, bail};

use crate::launch::bare_command;

/// Freezes a process until the returned [`Frozen`] is dropped. A frozen process does nothing, but
/// its connections stay open.
///
/// # Errors
///
/// The process has ended or belongs to another account, or there is no `sh` (for instance, on
/// Windows).
pub fn freeze(process: u32) -> Result<Frozen> {
    // A shell, because `kill` is built into it; not every system has a program of that name. The
    // shell waits until its input ends, so it thaws the process even if this program is killed.
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

/// A frozen process. Dropping this thaws the process.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
