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
mod proxy;
mod put_get;
mod server;
mod student;
mod watch;
