//! All answers to the exercises except the students' own, each with its verdict.

use std::process::ExitCode;

use exercise::{BoxFuture, Scene, Verdict};

/// An answer to an exercise.
pub struct Answer {
    /// The name of its module.
    pub name: &'static str,
    /// The last line that its run prints before the hint. `[..]` stands for any text.
    pub verdict: String,
    experiment: fn(Scene) -> BoxFuture<'static, Verdict>,
}

impl Answer {
    /// Returns whether this answer must be *held*.
    pub fn is_right(&self) -> bool {
        self.verdict.starts_with("held: ")
    }

    /// Tries this answer, as [`exercise::try_answer`] does.
    pub fn run(&self) -> ExitCode {
        exercise::try_answer(self.experiment)
    }
}

/// Makes a list of answers. First come the functions of every answer with their arguments, in the
/// order in which `experiment::run` takes them.
macro_rules! answers {
    ($functions:tt; $($name:ident: $verdict:expr,)+) => {
        vec![$(answers!(@one $functions $name $verdict)),+]
    };
    (@one [$($function:ident($($argument:ident),+)),+] $name:ident $verdict:expr) => {
        crate::Answer {
            name: stringify!($name),
            verdict: String::from($verdict),
            experiment: |scene| Box::pin(experiment::run(
                scene,
                $(|$($argument),+| Box::pin($name::$function($($argument),+))),+
            )),
        }
    };
}

#[path = "../../answers/counter/mod.rs"]
mod counter;
#[path = "../../answers/fencing/mod.rs"]
mod fencing;
#[path = "../../answers/heartbeat/mod.rs"]
mod heartbeat;
#[path = "../../answers/leader/mod.rs"]
mod leader;
#[path = "../../answers/pages/mod.rs"]
mod pages;
#[path = "../../answers/registry/mod.rs"]
mod registry;
#[path = "../../answers/reload/mod.rs"]
mod reload;
#[path = "../../answers/roster/mod.rs"]
mod roster;
#[path = "../../answers/tidy/mod.rs"]
mod tidy;

/// Returns the answers to one exercise, the solution first.
pub type Answers = fn() -> Vec<Answer>;

/// The exercises in reading order.
pub const EXERCISES: [(&str, Answers); 9] = [
    ("counter", counter::answers),
    ("pages", pages::answers),
    ("reload", reload::answers),
    ("tidy", tidy::answers),
    ("registry", registry::answers),
    ("heartbeat", heartbeat::answers),
    ("fencing", fencing::answers),
    ("leader", leader::answers),
    ("roster", roster::answers),
];

/// Returns the answers to an exercise, or `None` if it has none.
pub fn answers(exercise: &str) -> Option<Vec<Answer>> {
    let (_, answers) = EXERCISES.iter().find(|(name, _)| *name == exercise)?;
    Some(answers())
}
