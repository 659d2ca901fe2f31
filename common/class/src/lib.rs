//! What a teacher runs: the board of a class. `cargo class` also starts the etcd for it.

use std::env;

use anyhow::{Context, Result};

mod board;
mod results;
mod screen;

pub use board::show;
pub use results::{csv, remove};

/// Returns the endpoints of the etcd of the class.
///
/// # Errors
///
/// `ETCDCTL_ENDPOINTS` is not set. A chapter would then use the etcd of this machine, but no
/// student of the class reports to that one.
pub fn endpoints() -> Result<String> {
    let endpoints = env::var("ETCDCTL_ENDPOINTS").ok().filter(|value| !value.is_empty());
    endpoints.context(
        "cannot find the class: ETCDCTL_ENDPOINTS is not set; \
         start `cargo class` and type the line that its screen shows",
    )
}

/// Returns the line that the student `name` types, with quotes for a name of two words. With a
/// `password`, it also logs in.
pub fn invitation(endpoints: &str, name: &str, password: Option<&str>) -> String {
    let user = password.map(|password| format!(" ETCDCTL_USER={name}:{password}"));
    let user = user.unwrap_or_default();
    format!("export ETCDCTL_ENDPOINTS={endpoints} EXERCISE_NAME='{name}'{user}")
}
