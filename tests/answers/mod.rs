//! Answers to the exercises: the right ones are *held*, the wrong ones *broken* with a message that fits.

mod delete;
mod keepalive;
mod lease;
mod lock;
mod put_get;
mod roster;
mod watch;
