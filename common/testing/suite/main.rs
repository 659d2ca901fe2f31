//! All tests of what the programs show and promise, as one program. `cargo test watch::` runs those of a chapter,
//! `cargo test answers::` the answers to the exercises.

// Tests are begun in the order of their names: the answers first, as they take longest.
mod answers;
mod class;
mod common;
mod delete;
mod first_page;
mod hand_out;
mod keepalive;
mod lease;
mod lock;
mod own_project;
mod proxy;
mod put_get;
mod server;
mod student;
mod watch;

/// Follows the exercises on the page of a chapter, which is in this folder.
fn follow_exercises(folder: &str) -> anyhow::Result<()> {
    let chapter = folder.trim_start_matches("common/");
    let own = exercise::COURSE.iter().filter(|exercise| exercise.chapter == chapter);
    testing::follow_exercises(folder, &own.map(|exercise| exercise.name).collect::<Vec<_>>())
}
