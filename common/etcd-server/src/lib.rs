//! Starts a real etcd from Rust. Nothing has to be installed: cargo downloads the binary
//! ([etcd-bin-vendored](https://crates.io/crates/etcd-bin-vendored)). The environment variable
//! `ETCD` can name another.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let etcd = etcd_server::Server::start()?;
//! let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await?;
//! client.put("key", "value", None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - A [`Server`] is private to the program that starts it. It has its own data and a port that the
//!   system picks, and it ends when it is dropped or the program ends. It can be killed, restarted
//!   and frozen.
//! - A [`Cluster`] is several such servers, with certificates if the feature `tls` is on.
//! - A [`Proxy`] is the network to a server, with its faults. [`freeze`] freezes any process.
//! - [`add_users`] gives an etcd users.
//! - A [`Process`] is a server of another kind that also ends with the program.
//! - [`find_or_start`] starts an etcd in the background, which outlives the program.
//!
//! The functions that start a server block the thread until it serves, which takes about half a
//! second. In a task, call them through `tokio::task::spawn_blocking`.
//!
//! The binary of this crate is for a second terminal: `cargo run -p etcd-server` starts a cluster,
//! and prints which member leads.

mod address;
mod background;
#[cfg(feature = "tls")]
mod certificates;
mod cluster;
mod freeze;
mod launch;
mod metric;
mod proxy;
mod server;
mod users;

pub use address::free_address;
pub use background::{background_data, find_or_start, target_folder};
pub use cluster::Cluster;
pub use freeze::{Frozen, freeze};
pub use launch::{START_LIMIT, bare_command, quoted};
pub use metric::metric;
pub use proxy::Proxy;
pub use server::{Process, Server};
pub use users::add_users;
