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
    /// The picture that is shown before the verdict, if anything has been noted.
    pub timeline: Timeline,
    /// The picture that is shown before *broken*, if any.
    steps: Rc<RefCell<Steps>>,
}

impl Scene {
    /// Shows what came after what, if the verdict is *broken*. A later call replaces it, as when a round
    /// is played again.
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
/// None that a running server causes: nothing is sent yet.
pub async fn connect_to(server: SocketAddr) -> Result<Client> {
    common::connect_to([server.to_string()]).await
}

/// Runs a function that blocks, such as `Server::start`, while the tasks go on.
///
/// # Errors
///
/// Those of `work`, or `work` has panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Asks every 50 ms, until `is_so` returns `true`. Returns `false` if that takes longer than
/// `limit`.
pub async fn becomes(
    limit: Duration,
    mut is_so: impl AsyncFnMut() -> Result<bool>,
) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while !is_so().await? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(true)
}
