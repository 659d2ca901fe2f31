//! The code that every chapter needs and none explains: it [`connect`]s to etcd, and waits for a
//! response [`within`] a limit.
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
//! [`deleted`] waits until a key is deleted. After a stream was lost, [`none_if_transient`] decides
//! whether a new connection can help, and [`reconnect`] waits for it. [`argument`] reads the
//! command line. The rest is for programs that do more than a chapter does.

// Each module imports only from later modules in this list: deleted, connect, health, failover,
// login, within, settings, tls, error. `argument` imports from none.
mod argument;
mod connect;
mod deleted;
mod error;
mod failover;
mod health;
mod login;
mod settings;
mod tls;
mod within;

pub use argument::{argument, cannot_use, no_argument, words};
pub use connect::{connect, connect_through, connect_to, connect_to_through, reconnect};
pub use deleted::deleted;
pub use error::{RequestError, is_refusal, none_if_transient};
pub use failover::Failover;
pub use settings::CONNECT_TIMEOUT;
pub use tls::HAS_TLS;
pub use within::{NO_LIMIT, REQUEST_TIMEOUT, within};
