//! All tests of what the programs show and promise, as one program. `cargo test watch::` runs the
//! tests of a chapter, `cargo test answers::` tries the answers to the exercises.

// Tests start in the order of their names. The answers take longest, so they start first.
mod answers;
mod chinese;
mod class;
mod common;
mod delete;
mod first_page;
mod handout;
mod keepalive;
mod lease;
mod lock;
mod own_project;
mod proxy;
mod put_get;
mod server;
mod student;
mod watch;

/// Follows the exercises on the page of the chapter in this folder.
fn follow_exercises(folder: &str) -> anyhow::Result<()> {
    let chapter = folder.trim_start_matches("common/");
    let own = exercise::COURSE.iter().filter(|exercise| exercise.chapter == chapter);
    testing::follow_exercises(folder, &own.map(|exercise| exercise.name).collect::<Vec<_>>())
}
