//! The chapter as its README shows it, the rules of the lock one by one, and all of
//! them under random faults.

// Tests are begun in the order of their names. The longest is in the first module.
mod chapter;
mod faults;
mod late;
mod network;
mod program;
mod rules;
mod sessions;
mod support;
