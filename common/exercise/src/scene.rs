use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use etcd_client::Client;
use tokio::time::{Instant, sleep};

use crate::picture::{Steps, Timeline};
use crate::verdict::Verdict;

/// Where an experiment draws what happens.
#[derive(Clone, Default)]
pub struct Scene {
    /// The picture that comes before the verdict, if it shows anything.
    pub timeline: Timeline,
    /// The picture that comes before *broken*.
    steps: Rc<RefCell<Steps>>,
}

impl Scene {
    /// Shows these steps if the verdict is *broken*. A later call replaces them, for instance when
    /// a round is played again.
    pub fn show(&self, steps: Steps) {
        self.steps.replace(steps);
    }

    /// Returns the pictures that belong to this verdict.
    pub(crate) fn pictures(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Held(_) => self.timeline.to_string(),
            Verdict::Broken { .. } => format!("{}{}", self.timeline, self.steps.borrow()),
        }
    }
}

/// Returns a client of a server that the experiment has started.
///
/// # Errors
///
/// None if the server's address is right, because nothing is sent yet.
pub async fn connect_to(server: SocketAddr) -> Result<Client> {
    common::connect_to([server.to_string()]).await
}

/// Runs a function that blocks, such as `Server::start`, while other tasks go on.
///
/// # Errors
///
/// `work` returns an error or panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Checks a condition every 50 ms until it is true. Returns `false` if that takes longer than
/// `limit`.
pub async fn becomes(
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<bool>,
) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while !condition().await? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(true)
}
