use std::env;
use std::path::PathBuf;

/// One exercise of the course.
#[derive(Clone, Copy)]
pub struct Exercise {
    /// The name of the package, which is its chapter.
    pub chapter: &'static str,
    /// The name of the example.
    pub name: &'static str,
    /// The second hint. A *broken* verdict has the first one.
    pub hint: &'static str,
}

/// The exercises in reading order.
pub const COURSE: [Exercise; 9] = [
    Exercise {
        chapter: "put-get",
        name: "counter",
        hint: "In a transaction, etcd first compares and then writes, and nothing can come in between. \
           Which number of the key shows that nobody has written it since your get? And what do \
           you do if somebody has?",
    },
    Exercise {
        chapter: "put-get",
        name: "pages",
        hint: "etcd keeps earlier revisions, and a get can read one of them (see the methods of \
           GetOptions). At which revision was your first page read? The header of its response \
           says so.",
    },
    Exercise {
        chapter: "watch",
        name: "reload",
        hint: "The header of every response has the revision of the store at that moment, and a watch \
           can begin at a revision. Which is the first revision that your get has not seen? From \
           which one do you go on when the stream has ended? And from which one when the watch \
           says that it is canceled()?",
    },
    Exercise {
        chapter: "delete",
        name: "tidy",
        hint: "However late you check, a change can come between your check and your delete. Let etcd \
           compare and delete in one step, as in the exercise counter of put-get. And which keys \
           begin with the name of the folder?",
    },
    Exercise {
        chapter: "lease",
        name: "registry",
        hint: "A put replaces everything about a key, including its lease. What does a put without a \
           lease do to the lease of the key? The chapter's README explains it, under What can go \
           wrong. And when a later run has registered, which lease is the key on, and how could etcd \
           check that in the same step as the write?",
    },
    Exercise {
        chapter: "keepalive",
        name: "heartbeat",
        hint: "Only a response with a TTL above 0 says that the lease lives. It says so for one TTL, counted \
           from the moment when the renewal was sent. What can you say after that, if no other \
           response comes? What can you do before that, and what when it is too late?",
    },
    Exercise {
        chapter: "lock",
        name: "fencing",
        hint: "However late you check that the lock is still yours, a pause can come after the check. Only \
           etcd can compare and write in one step. Which method of the guard helps with that? And \
           what do you return when etcd has refused?",
    },
    Exercise {
        chapter: "lock",
        name: "leader",
        hint: "The lock ends with its session, and etcd cannot tell this to a leader that is cut off. What \
           does the session know without etcd? What do you do when it is lost, and with which \
           session do you stand again?",
    },
    Exercise {
        chapter: "class",
        name: "roster",
        hint: "The list is true at one revision, which is in the header of its response. At which one \
           must the watch begin? What on your board is still true when you list again? And what does \
           etcd say on the stream before it stays silent forever?",
    },
];

impl Exercise {
    /// Returns the exercise of this name.
    pub fn find(name: &str) -> Option<Exercise> {
        COURSE.into_iter().find(|exercise| exercise.name == name)
    }

    /// Returns the command that tries this exercise.
    pub fn command(self) -> String {
        format!("cargo run -p {} --example {}", self.chapter, self.name)
    }

    /// Returns the path of the only file that a student edits.
    pub fn yours(self) -> PathBuf {
        let below = if self.chapter == "class" { "common/class" } else { self.chapter };
        root().join(below).join("examples").join(self.name).join("yours.rs")
    }

    /// Returns the path of an answer, such as `solution.rs`, relative to the workspace.
    pub fn answer(self, file: &str) -> String {
        format!("common/answers/{}/{file}", self.name)
    }

    /// Returns the next exercise of the course.
    pub(crate) fn next(self) -> Option<Exercise> {
        COURSE.into_iter().skip_while(|other| other.name != self.name).nth(1)
    }
}

/// Returns the folder of the workspace. It may have moved since this program was built, because
/// cargo doesn't rebuild a workspace that was moved or copied.
pub fn root() -> PathBuf {
    // `cargo run` sets this variable to where the package is now.
    let built = env!("CARGO_MANIFEST_DIR");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or(built.into()));
    let root = package.ancestors().find(|folder| folder.join("common/exercise").exists());
    root.unwrap_or(&package).to_owned()
}
