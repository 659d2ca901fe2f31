//! Tries an exercise whenever its `yours.rs` is saved.

use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use etcd_server::bare_command;
use exercise::{COURSE, Exercise, root, say, was_held};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use crate::next;

/// How often the files are compared with what they were: every 200 ms.
const TICK: Duration = Duration::from_millis(200);
/// How long a run may take to end when it is told to: 2 s.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Watches until `q` is typed, or this program is told to end. The run that goes on ends with it.
#[tokio::main(flavor = "current_thread")]
pub async fn watch() -> Result<()> {
    // The texts, not the times: some editors touch a file, and a restored file has its old time.
    let read = |exercise: Exercise| fs::read_to_string(exercise.yours());
    let mut texts = COURSE.map(|exercise| read(exercise).unwrap_or_default());
    let mut exercise = next().unwrap_or(COURSE[0]);
    let mut run: Option<Run> = None;
    let mut typed = typed_lines();
    let mut told_to_end = Box::pin(told_to_end());
    show_keys(exercise, "waiting for a save")?;
    loop {
        tokio::select! {
            told = &mut told_to_end => return Ok(told?),
            Some(line) = typed.recv() => match line.trim() {
                "h" => say!("{}", exercise.hint)?,
                "r" => start(&mut run, exercise)?,
                "n" => match next_after(exercise) {
                    Some(next) => {
                        exercise = next;
                        start(&mut run, exercise)?;
                    }
                    None => say!("all of them are done")?,
                },
                "q" => return Ok(()),
                _ if run.is_some() => show_keys(exercise, "running")?,
                _ => show_keys(exercise, "waiting for a save")?,
            },
            () = sleep(TICK) => {
                if run.as_mut().is_some_and(Run::has_ended) {
                    run = None;
                    show_keys(exercise, "waiting for a save")?;
                }
                let mut saved = None;
                for (exercise, before) in COURSE.into_iter().zip(&mut texts) {
                    // While an editor replaces the file, there may be none.
                    if let Ok(text) = read(exercise) && text != *before {
                        *before = text;
                        saved = Some(exercise);
                    }
                }
                if let Some(saved) = saved {
                    exercise = saved;
                    if run.is_some() {
                        clear_line()?;
                        say!("{} was saved: this run ends, and the next one starts", saved.name)?;
                    }
                    let _ = touch(saved); // cargo finds most changes without it
                    start(&mut run, exercise)?;
                }
            }
        }
    }
}

fn show_keys(exercise: Exercise, now: &str) -> Result<()> {
    let keys = "h(int), r(erun), n(ext) or q(uit), and Enter";
    Ok(say!("{}: {now}; type {keys}", exercise.name)?)
}

/// Returns the first exercise after this one that was never held. The first one follows the last.
fn next_after(exercise: Exercise) -> Option<Exercise> {
    let from_here = COURSE.into_iter().cycle().skip_while(|other| other.name != exercise.name);
    from_here.skip(1).take(COURSE.len()).find(|exercise| !was_held(*exercise))
}

/// Returns the lines that are typed. Single keys without Enter would need a raw terminal. There, the
/// output of a run looks like stairs, and the terminal stays raw if this program is killed.
fn typed_lines() -> UnboundedReceiver<String> {
    let (sender, typed) = unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    typed
}

/// Waits for Ctrl-C or (on Unix) for the end of the terminal, or another signal to end.
async fn told_to_end() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut quit = signal(SignalKind::quit())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Ends the run that goes on, if any, and starts another one.
fn start(run: &mut Option<Run>, exercise: Exercise) -> Result<()> {
    *run = None;
    clear_line()?;
    say!("\n$ {}", exercise.command())?;
    *run = Some(Run::start(exercise)?);
    Ok(())
}

/// Makes cargo build an exercise again. Cargo compares times, and a restored `yours.rs` may be older
/// than the last build. An editor may have `yours.rs` open, so `main.rs` gets the new time.
fn touch(exercise: Exercise) -> io::Result<()> {
    let main = File::options().append(true).open(exercise.yours().with_file_name("main.rs"))?;
    main.set_modified(SystemTime::now())
}

/// Removes the bar that an ended cargo has left on the terminal.
fn clear_line() -> io::Result<()> {
    if stdout().is_terminal() { write!(stdout(), "\r\x1b[K") } else { Ok(()) }
}

/// Cargo, and then the exercise. Dropping it ends both.
struct Run(Child);

impl Run {
    fn start(exercise: Exercise) -> Result<Run> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(exercise.command().split(' ').skip(1)).current_dir(root()).stdin(Stdio::null());
        // A group of its own, so that a signal also ends what cargo has started: a compiler, or
        // the exercise and its etcd.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut cargo, 0);
        Ok(Run(cargo.spawn().context("cannot run cargo")?))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends a signal to the group.
    #[cfg(unix)]
    fn signal(&mut self, name: &str) {
        // The shell has `kill` built in; not every system has it as a program.
        let kill = format!("kill -{name} -{}", self.0.id());
        let mut shell = bare_command("sh");
        let _ = shell.args(["-c", &kill]).stderr(Stdio::null()).status(); // they may have ended
    }

    #[cfg(not(unix))]
    fn signal(&mut self, _name: &str) {
        let _ = self.0.kill(); // it may have ended
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The guard of an etcd survives TERM, and removes the data. An answer may survive it, too.
        for name in ["TERM", "KILL"] {
            if self.has_ended() {
                return;
            }
            self.signal(name);
            let deadline = Instant::now() + END_LIMIT;
            while !self.has_ended() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
