//! A distributed lock on etcd: the session and the mutex of Go's package `concurrency`, which
//! Rust's client does not have.
//!
//! ```no_run
//! # async fn example(client: etcd_client::Client) -> anyhow::Result<()> {
//! let session = lock::Session::open(&client, std::time::Duration::from_secs(5)).await?;
//! let held = lock::Mutex::new(&session, "/my-lock/").lock().await?;
//! // The work: it shows held.token() to what it reads and writes.
//! held.unlock().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Unlocking twice, in Go an error that the program meets when it runs, does not compile:
//!
//! ```compile_fail,E0382
//! # async fn example(held: lock::Guard) -> anyhow::Result<()> {
//! held.unlock().await?;
//! held.unlock().await?;
//! # Ok(())
//! # }
//! ```

mod interrupted;
mod mutex;
mod session;

pub use interrupted::unless_interrupted;
pub use mutex::{Guard, Mutex};
pub use session::Session;
