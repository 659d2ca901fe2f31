use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use etcd_server::Proxy;
use tokio::time::{Instant, sleep};

use crate::verdict::{broken, too_slow};

/// The names of a get and of a watch.
pub(crate) const GET_OR_WATCH: [&str; 2] = ["Range", "Watch"];

/// A wait that is shorter is not a pause between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// The requests that a client has sent, with their names in etcd's API: a get is `Range`, and then
/// there are `Put`, `Watch` and so on. A message on an open stream is not a request of its own.
#[derive(Clone, Default)]
pub struct RequestLog(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    requests: Vec<Entry>,
    /// When the last request was sent or ended.
    quiet_since: Option<Instant>,
}

struct Entry {
    name: String,
    /// Whether nothing was sent or ended just before.
    after_pause: bool,
}

/// A request until its response or an error has come, or until the client no longer waits.
pub(crate) struct Sent(RequestLog);

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.with(|log| log.quiet_since = Some(Instant::now()));
    }
}

impl Log {
    fn begin(&mut self, name: &str, now: Instant) {
        let before = self.quiet_since.replace(now);
        let after_pause = before.is_none_or(|before| now - before >= PAUSE);
        self.requests.push(Entry { name: name.to_owned(), after_pause });
    }

    fn without_pause(&self, skipped: usize) -> usize {
        let (mut row, mut longest) = (0, 0);
        for Entry { after_pause, .. } in &self.requests[skipped..] {
            row = if *after_pause { 1 } else { row + 1 };
            longest = longest.max(row);
        }
        longest
    }
}

impl RequestLog {
    /// Notes that a request is sent. It ends when the return value is dropped.
    pub(crate) fn begin(&self, name: &str) -> Sent {
        self.with(|log| log.begin(name, Instant::now()));
        Sent(self.clone())
    }

    /// Returns how many requests of this name were sent.
    pub fn count(&self, name: &str) -> usize {
        self.with(|log| log.requests.iter().filter(|sent| sent.name == name).count())
    }

    /// Returns how many requests were sent.
    pub fn count_all(&self) -> usize {
        self.with(|log| log.requests.len())
    }

    /// Returns *broken* if `who` has sent a long row of requests without a pause, after the first
    /// `skipped` ones. A pause is 10 ms or more between the end of one request and the next one. A
    /// slow machine can make pauses longer but not shorter, so this needs no excuse.
    pub fn check_pauses(&self, who: &str, skipped: usize) -> Result<()> {
        /// More than any answer needs for one attempt.
        const MANY: usize = 10;
        match self.with(|log| log.without_pause(skipped)) {
            ..=MANY => Ok(()),
            _ => broken(
                format!("{who} sent more than {MANY} requests without a pause"),
                "how long your code waits between two requests",
            ),
        }
    }

    /// Checks for 5.5 s, while nothing changes, that the client sends no get and begins no watch.
    /// Returns *broken* if it does.
    pub async fn check_quiet(&self) -> Result<()> {
        self.check_unasked(Duration::from_millis(5500)).await
    }

    /// Checks for 1.5 s, while nothing changes, that the client sends nothing at all through this
    /// link, not even on a stream. Returns *broken* if it does.
    pub async fn check_silent(&self, link: &Proxy) -> Result<()> {
        link.pause_requests();
        self.check_unasked(Duration::from_millis(1500)).await?;
        if link.has_paused() {
            return too_slow(
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
            return too_slow(
                "it sends one get after another, while nothing changes",
                "why your code sends a get when nothing has ended its watch, or what has ended it",
            );
        }
        if watches > before[1] {
            return too_slow(
                "it begins one watch after another, while nothing changes",
                "for how long your code waits for the next event",
            );
        }
        Ok(())
    }

    /// Returns the names of the first requests.
    pub fn first(&self, count: usize) -> Vec<String> {
        self.with(|log| log.requests.iter().take(count).map(|sent| sent.name.clone()).collect())
    }

    /// Whether the last request has this name.
    pub fn last_is(&self, name: &str) -> bool {
        self.with(|log| log.requests.last().is_some_and(|last| last.name == name))
    }

    fn with<T>(&self, read: impl FnOnce(&mut Log) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_requests_ends_with_a_pause() {
        let (start, mut log) = (Instant::now(), Log::default());
        let at = |time| start + Duration::from_millis(time);
        assert_eq!(log.without_pause(0), 0);
        // The response to the second one is slow, which is not a pause.
        for (sent, ended) in [(0, 5), (9, 90), (95, 96), (110, 111), (115, 116)] {
            log.begin("Range", at(sent));
            log.quiet_since = Some(at(ended));
        }
        assert_eq!(log.without_pause(0), 3);
        assert_eq!(log.without_pause(3), 2);
    }
}
