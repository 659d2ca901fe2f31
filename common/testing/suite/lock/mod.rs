//! The chapter as its README shows it, the rules of the lock one by one, and all of them under
//! random faults.

// Tests start in the order of their names, and the longest test should start early.
mod chapter;
mod faults;
mod late;
mod network;
mod program;
mod rules;
mod sessions;
mod support;
