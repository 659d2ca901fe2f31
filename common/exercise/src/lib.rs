//! What the exercises of the chapters share.
//!
//! An exercise is an example of its chapter. Its `experiment.rs` tries an answer, which is the
//! function that the exercise asks for, on a real etcd, and ends with a [`Verdict`]. [`run`] tries
//! the answer in `yours.rs`, the only file that a student edits. All other answers are in
//! `common/answers`.
//!
//! A fault must come at the same point of every run. So an experiment can pause what a client sends
//! and receives: single requests and responses on a [`Network`], or everything with an
//! `etcd_server::Proxy`.
//!
//! On a slow machine an experiment ends without a verdict where a right answer could be late: see
//! [`too_slow`].

mod course;
mod etcd;
mod machine;
mod network;
mod picture;
mod progress;
mod report;
mod request_log;
mod run;
mod scene;
mod stage;
mod text;
mod verdict;
mod watcher;

pub use course::{COURSE, Exercise, root};
pub use etcd::{Change, Etcd};
pub use machine::moves_on;
pub use network::{Network, PausedRequest, PausedResponse, connect_intercepted};
pub use picture::{NOTHING, Steps, Symbol, Timeline, is_plain, is_set, is_utf8};
pub use progress::{note, state, was_held};
pub use report::{CLASS, HERE, RUNNING, YOUR_NAME, now, verdict_value};
pub use request_log::RequestLog;
pub use run::{BoxFuture, run, try_answer};
pub use scene::{Scene, becomes, blocking, connect_to};
pub use stage::{Fault, Played, still_waits};
pub use text::{colored, complain, wrap, wrapped};
pub use verdict::{
    Stages, Stopwatch, Verdict, broken, check_running, held, retry_if_slow,
    retry_if_slow_or_counted, returned_error, too_slow,
};
pub use watcher::{FAULTS_AT_RETURN, SHOW_LIMIT, Watcher};

/// Prints a line of an experiment, [`wrapped`] on a terminal. Returns an error if stdout is closed.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        $crate::moves_on();
        writeln!(std::io::stdout(), "{}", $crate::wrapped(&std::fmt::format(format_args!($($line)*))))
    }};
}

/// The experiment on that page compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct HowToWriteAnotherExercise;
