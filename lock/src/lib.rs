//! A distributed lock on etcd: a session and a mutex, like those in the package `concurrency` of
//! the Go client. The Rust client has neither.
//!
//! ```no_run
//! # async fn example(client: etcd_client::Client) -> anyhow::Result<()> {
//! let session = lock::Session::open(&client, std::time::Duration::from_secs(5)).await?;
//! let guard = lock::Mutex::new(&session, "/my-lock/").lock().await?;
//! // Work here. Show guard.token() to the resource on every read and write.
//! guard.unlock().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A second unlock doesn't compile. In Go it is an error at run time.
//!
//! ```compile_fail,E0382
//! # async fn example(guard: lock::Guard) -> anyhow::Result<()> {
//! guard.unlock().await?;
//! guard.unlock().await?;
//! # Ok(())
//! # }
//! ```

mod interrupted;
mod mutex;
mod queue;
mod session;

pub use interrupted::unless_interrupted;
pub use mutex::{Guard, Mutex};
pub use session::Session;
