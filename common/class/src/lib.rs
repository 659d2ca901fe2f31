//! What a teacher runs: the board of a class. `cargo class` also starts the etcd for it.

use std::env;

use anyhow::{Context, Result};

mod board;
mod screen;

pub use board::show;

/// Returns the endpoints of the etcd of the class.
///
/// # Errors
///
/// `ETCDCTL_ENDPOINTS` is not set. The chapters would use the etcd of this machine then, but no
/// student of the class is there.
pub fn endpoints() -> Result<String> {
    let endpoints = env::var("ETCDCTL_ENDPOINTS").ok().filter(|value| !value.is_empty());
    endpoints.context(
        "cannot find the class: ETCDCTL_ENDPOINTS is not set; \
         start `cargo class`, and type the line that its screen shows",
    )
}
