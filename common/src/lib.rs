//! What every chapter needs and none of them teaches: connecting to etcd, and waiting for its
//! answers within a limit.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use common::{REQUEST_TIMEOUT, connect, within};
//!
//! let mut client = connect().await?;
//! within(REQUEST_TIMEOUT, client.put("testkey", "testvalues", None)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! From the bottom up: [`error`] puts what went wrong into one line, [`within`](mod@within) limits
//! a wait, [`tls`] and [`settings`] read where etcd is and who we are, [`failover`] is the channel
//! to several members, [`connect`](mod@connect) puts these together, and [`deleted`](mod@deleted)
//! is a watch that two chapters share.
#![allow(rustdoc::private_intra_doc_links)]

mod connect;
mod deleted;
mod error;
mod failover;
mod settings;
mod tls;
mod within;

pub use connect::{connect, connect_through, connect_to, reconnect};
pub use deleted::deleted;
pub use failover::Failover;
pub use settings::CONNECT_TIMEOUT;
pub use within::{NO_LIMIT, REQUEST_TIMEOUT, within};
