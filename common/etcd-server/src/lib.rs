//! A real etcd, started from Rust: the bundled binary, or the one that `ETCD` names.
//!
//! - [`find_or_start`] starts the one in the background that the chapters share.
//! - A [`Server`] is private to the program that starts it: its own data, a port that the
//!   system picks, gone when it is dropped or the program ends.
//! - A [`Cluster`] is three of them.
//!
//! ```
//! # async fn example() -> anyhow::Result<()> {
//! let etcd = etcd_server::Server::start()?;
//! let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await?;
//! client.put("key", "value", None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run -p etcd-server` starts a cluster and says who leads it.

mod background;
#[cfg(feature = "tls")]
mod certificates;
mod cluster;
mod freeze;
mod launch;
mod server;
mod users;

pub use background::{background_data, find_or_start, is_taken};
pub use cluster::Cluster;
pub use freeze::{Frozen, freeze};
pub use launch::START_LIMIT;
pub use server::Server;
pub use users::add_users;
