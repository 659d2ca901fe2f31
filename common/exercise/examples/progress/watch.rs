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

/// How often the files are compared with what they were.
const TICK: Duration = Duration::from_millis(200);
/// How long a run may take to end after a signal.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Watches until `q` is typed or a signal ends this program. The current run ends with it.
#[tokio::main(flavor = "current_thread")]
pub async fn watch() -> Result<()> {
    let mut texts = COURSE.map(|_| String::new());
    saved(&mut texts);
    let mut watch = Watch { exercise: next().unwrap_or(COURSE[0]), run: None };
    let mut typed = typed_lines();
    let mut end = Box::pin(end_signal());
    watch.show_keys()?;
    loop {
        tokio::select! {
            signal = &mut end => return Ok(signal?),
            Some(line) = typed.recv() => match line.trim() {
                "h" => {
                    say!("{}", watch.exercise.hint)?;
                    watch.show_keys()?;
                }
                "r" => watch.start(watch.exercise)?,
                "n" => match next_after(watch.exercise) {
                    Some(next) => watch.start(next)?,
                    None => say!("all exercises are done")?,
                },
                "q" => return Ok(()),
                _ => watch.show_keys()?,
            },
            () = sleep(TICK) => {
                if watch.run.as_mut().is_some_and(Run::has_ended) {
                    watch.run = None;
                    watch.show_keys()?;
                }
                if let Some(exercise) = saved(&mut texts) {
                    if watch.run.take().is_some() {
                        clear_line()?;
                        say!("{} was saved: this run ends, and the next one starts", exercise.name)?;
                    }
                    let _ = touch(exercise); // cargo notices most saves without it
                    watch.start(exercise)?;
                }
            }
        }
    }
}

/// Returns the exercise whose file has another text than before, and notes the new texts. It
/// compares texts because some editors touch a file that they don't change, and because a restored
/// file has its old time.
fn saved(texts: &mut [String]) -> Option<Exercise> {
    let mut saved = None;
    for (exercise, before) in COURSE.into_iter().zip(texts) {
        // While an editor replaces a file, it may be missing.
        if let Ok(text) = fs::read_to_string(exercise.yours())
            && text != *before
        {
            *before = text;
            saved = Some(exercise);
        }
    }
    saved
}

/// Returns the next exercise that was never held. After the last exercise comes the first.
fn next_after(exercise: Exercise) -> Option<Exercise> {
    let from_here = COURSE.into_iter().cycle().skip_while(|other| other.name != exercise.name);
    from_here.skip(1).take(COURSE.len()).find(|exercise| !was_held(*exercise))
}

/// Returns the lines that are typed. Single keys without Enter would need a raw terminal, which
/// garbles the output of a run, and stays raw if this program is killed.
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

/// Waits for Ctrl-C or, on Unix, for another signal to end, such as the one of a closed terminal.
async fn end_signal() -> io::Result<()> {
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

/// Makes cargo build an exercise again: cargo compares times, and a restored `yours.rs` may be
/// older than the last build. `main.rs` gets the new time, because an editor may have `yours.rs`
/// open.
fn touch(exercise: Exercise) -> io::Result<()> {
    let main = File::options().append(true).open(exercise.yours().with_file_name("main.rs"))?;
    main.set_modified(SystemTime::now())
}

/// Removes the progress bar that an ended cargo leaves on a terminal.
fn clear_line() -> io::Result<()> {
    if stdout().is_terminal() { write!(stdout(), "\r\x1b[K") } else { Ok(()) }
}

/// The exercise that was saved last, and its run.
struct Watch {
    exercise: Exercise,
    run: Option<Run>,
}

impl Watch {
    fn show_keys(&self) -> Result<()> {
        let yours = self.exercise.yours();
        let now = match self.run {
            Some(_) => "running".to_owned(),
            None => {
                let path = yours.strip_prefix(root()).unwrap_or(&yours);
                format!("waiting for a save of {}", path.display())
            }
        };
        let keys = "h(int), r(erun), n(ext) or q(uit), and Enter";
        Ok(say!("{}: {now}; type {keys}", self.exercise.name)?)
    }

    /// Ends the current run, if there is one, and starts a run of `exercise`.
    fn start(&mut self, exercise: Exercise) -> Result<()> {
        self.run = None;
        self.exercise = exercise;
        clear_line()?;
        say!("\n$ {}", exercise.command())?;
        self.run = Some(Run::start(exercise)?);
        Ok(())
    }
}

/// A run of cargo, and then of an exercise. Dropping it ends both.
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

    /// Sends a signal to the group, whose processes may have ended.
    fn signal(&mut self, name: &str) {
        if cfg!(unix) {
            // Every shell has `kill` built in, but not every system has it as a program.
            let kill = format!("kill -{name} -{}", self.0.id());
            let _ = bare_command("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
        } else {
            let _ = self.0.kill();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // An answer may ignore TERM. The watchdog of its etcd is in another group and removes the
        // data after either signal.
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
