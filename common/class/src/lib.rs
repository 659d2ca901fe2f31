//! What a teacher runs: the board of a class. `cargo class` also starts the etcd for it.

mod board;
mod screen;

pub use board::show;
