//! For the exercises of the chapters.
//!
//! An exercise is an example of its chapter. Its `experiment.rs` is an experiment on a real etcd that ends
//! with a [`Verdict`]. It tries an answer: the function that the exercise asks for. [`run`] tries the one in
//! `yours.rs`, the only file that a student edits. All other answers are in `common/answers`.
//!
//! A fault must come at the same moment in each run. So an experiment can pause what a client sends and
//! receives: single requests and responses on a [`Wire`], or everything with an `etcd_server::Proxy`.

mod course;
mod etcd;
mod picture;
mod progress;
mod report;
mod run;
mod scene;
mod sent;
mod stage;
mod text;
mod verdict;
mod watcher;
mod wire;

pub use course::{COURSE, Exercise, root};
pub use etcd::{Change, Etcd};
pub use picture::{NOTHING, Sign, Steps, Timeline, is_plain, is_set, is_utf8};
pub use progress::{note, state, was_held};
pub use report::{CLASS, HERE, RUNNING, now, verdict_value};
pub use run::{BoxFuture, run, try_answer};
pub use scene::{Scene, becomes, blocking, connect_to};
pub use sent::Sent;
pub use stage::{Fault, Played, still_waits};
pub use text::{colored, complain, wrapped};
pub use verdict::{
    Stages, Stopwatch, Verdict, broken, check_running, counted_round, gave_up, held, round,
};
pub use watcher::{FAULTS_AT_RETURN, SHOW_LIMIT, Watcher};
pub use wire::{PausedRequest, PausedResponse, Wire, connect_by_wire_to};

/// Prints a line of an experiment, [`wrapped`] on a terminal. It is an error if nobody reads it.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), "{}", $crate::wrapped(&std::fmt::format(format_args!($($line)*))))
    }};
}
