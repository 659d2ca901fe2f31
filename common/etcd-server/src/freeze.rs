//! Stopping a process where it stands, as SIGSTOP does.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, bail};

/// Stops any process where it stands, until what this returns is dropped.
pub fn freeze(process: u32) -> Result<Frozen> {
    // The shell's own `kill`: a program of that name is not on every system. This
    // one waits until its input ends, so that nothing stays frozen for ever when
    // this program is killed.
    let script = r#"trap "" HUP INT TERM; kill -STOP "$0" && echo && read -r _; kill -CONT "$0""#;
    let mut shell = Command::new("sh")
        .args(["-c", script, &process.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stopped = shell.stdout.take().map(|mut output| output.read_exact(&mut [0]));
    let frozen = Frozen(shell);
    match stopped {
        Some(Ok(())) => Ok(frozen),
        _ => bail!("cannot freeze process {process}"),
    }
}

/// A process that stands still; it goes on when this is dropped.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
