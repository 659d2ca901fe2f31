use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use etcd_server::Proxy;
use tokio::time::sleep;

use crate::verdict::broken;

/// As in [`RequestLog`].
pub(crate) const GET_OR_WATCH: [&str; 2] = ["Range", "Watch"];

/// The names of all requests that a client has sent, as in etcd's API: `Range` is a get, and then there
/// are `Put`, `Watch` and so on. What goes over an open stream is no request of its own.
#[derive(Clone, Default)]
pub struct RequestLog(Arc<Mutex<Vec<String>>>);

impl RequestLog {
    /// Returns how many of this name were sent.
    pub fn count(&self, name: &str) -> usize {
        self.with(|names| names.iter().filter(|sent| *sent == name).count())
    }

    /// Returns how many were sent.
    pub fn count_all(&self) -> usize {
        self.with(|names| names.len())
    }

    /// Checks for 5.5 s that nobody gets or begins to watch while nothing changes. Returns *broken* if somebody
    /// does.
    pub async fn check_quiet(&self) -> Result<()> {
        self.check_unasked(Duration::from_millis(5500)).await
    }

    /// Checks for 1.5 s that nothing at all comes through this link while nothing changes, not even on a
    /// stream. Returns *broken* if something does.
    pub async fn check_silent(&self, link: &Proxy) -> Result<()> {
        link.pause_requests();
        self.check_unasked(Duration::from_millis(1500)).await?;
        if link.has_paused() {
            return broken(
                "it sends something on its stream, while nothing changes",
                "whether etcd tells you of a change when nobody asks",
            );
        }
        link.mend();
        Ok(())
    }

    async fn check_unasked(&self, time: Duration) -> Result<()> {
        let before = GET_OR_WATCH.map(|name| self.count(name));
        sleep(time).await;
        let [gets, watches] = GET_OR_WATCH.map(|name| self.count(name));
        if gets > before[0] {
            return broken(
                "it sends one get after another, while nothing changes",
                "why your code sends a get when nothing has ended its watch, or what has ended it",
            );
        }
        if watches > before[1] {
            return broken(
                "it begins one watch after another, while nothing changes",
                "for how long your code waits for the next event",
            );
        }
        Ok(())
    }

    /// Checks for 0.5 s, while the server is away, that nobody asks without a pause. Returns *broken* if
    /// somebody does.
    pub async fn check_pauses(&self) -> Result<()> {
        const AWAY: Duration = Duration::from_millis(500);
        /// So many requests are more than any answer needs.
        const MANY: usize = 50;
        let before = self.count_all();
        sleep(AWAY).await;
        if self.count_all() - before > MANY {
            return broken(
                format!("the server was away for {AWAY:?}, and it sent more than {MANY} requests"),
                "how long your code waits between two attempts",
            );
        }
        Ok(())
    }

    /// Returns the first so many.
    pub fn first(&self, count: usize) -> Vec<String> {
        self.with(|names| names.iter().take(count).cloned().collect())
    }

    /// Whether the last one has this name.
    pub fn last_is(&self, name: &str) -> bool {
        self.with(|names| names.last().is_some_and(|last| last == name))
    }

    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Vec<String>) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
