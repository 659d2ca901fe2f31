//! How slow the machine is while an experiment runs. All of this is static, because one process
//! tries one answer.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use common::{NO_LIMIT, within};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::scene::connect_to;

/// A delay of this length may be why an answer was too slow: the smallest tolerance of an
/// experiment, 0.2 s, less what the watchdog overlooks.
const DELAY_LIMIT: Duration = Duration::from_millis(170);

/// How long such a delay counts. No experiment waits longer for anything.
const RECENT: Duration = Duration::from_secs(10);

/// If the program stood still for this long, no *broken* counts: leases may have run out.
const STANDSTILL_LIMIT: Duration = Duration::from_millis(500);

/// How much longer an answer may keep the thread for itself than share it.
const BLOCKED_LIMIT: Duration = Duration::from_millis(1500);

/// How often the watchdog measures.
const TICK: Duration = Duration::from_millis(20);

/// The pause between two requests that measure etcd.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

static MACHINE: Mutex<Machine> = Mutex::new(Machine {
    moved: None,
    ticked: None,
    late: Duration::ZERO,
    standstill: Duration::ZERO,
    slow: None,
    probe: None,
    restarts: false,
});

/// What is known about the machine.
struct Machine {
    /// When the experiment last went on to something new.
    moved: Option<Instant>,
    /// When the watchdog last measured.
    ticked: Option<Instant>,
    /// How late the watchdog was, in total.
    late: Duration,
    /// The longest time for which the program stood still.
    standstill: Duration,
    /// The last delay above the limit: its end and its length.
    slow: Option<(Instant, Duration)>,
    /// When the request was sent to which etcd has not yet responded.
    probe: Option<Instant>,
    /// Whether the experiment is restarting etcd.
    restarts: bool,
}

fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Returns how late the watchdog is now.
    fn late_now(&self) -> Duration {
        self.ticked.map_or(Duration::ZERO, |ticked| ticked.elapsed().saturating_sub(TICK))
    }

    fn note_delay(&mut self, delay: Duration) {
        if delay >= DELAY_LIMIT {
            self.slow = Some((Instant::now(), delay));
        }
    }
}

/// Why the machine may be the reason for a *broken* verdict.
pub(crate) enum Excuse {
    Standstill(Duration),
    Delay(Duration),
}

/// Returns what the machine did that may be the reason for a *broken* verdict. A short delay
/// excuses only an answer that was too slow.
pub(crate) fn excuse(was_too_slow: bool) -> Option<Excuse> {
    let rounded = |time: Duration| Duration::from_millis(time.as_millis() as u64 / 10 * 10);
    let mut machine = machine();
    let late = machine.late_now();
    machine.note_delay(late);
    if let Some(sent) = machine.probe {
        machine.note_delay(sent.elapsed());
    }
    let standstill = machine.standstill.max(late);
    if standstill >= STANDSTILL_LIMIT {
        return Some(Excuse::Standstill(rounded(standstill)));
    }
    let (end, delay) = machine.slow.filter(|_| was_too_slow)?;
    (end.elapsed() < RECENT).then(|| Excuse::Delay(rounded(delay)))
}

/// Notes that the experiment goes on to something new.
pub fn moves_on() {
    machine().moved = Some(Instant::now());
}

/// Whether the experiment has gone on to something new within this time.
pub(crate) fn has_moved_on(within: Duration) -> bool {
    machine().moved.is_some_and(|moved| moved.elapsed() < within)
}

/// A clock that stops while the machine keeps the experiment waiting.
pub(crate) struct FairClock {
    since: Instant,
    late: Duration,
    queued: Duration,
}

impl FairClock {
    pub(crate) fn start() -> FairClock {
        let machine = machine();
        let late = machine.late + machine.late_now();
        FairClock { since: Instant::now(), late, queued: queued() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let now = FairClock::start();
        // Both see the same delays.
        let delay = now.late.saturating_sub(self.late).max(now.queued.saturating_sub(self.queued));
        (now.since - self.since).saturating_sub(delay)
    }
}

/// Measures the machine in a thread. Calls `end` there if an answer keeps the main thread for
/// itself. Dropping this future ends the thread.
pub(crate) async fn watch(end: impl FnOnce(Duration) + Send + 'static) {
    let polls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::downgrade(&polls);
    thread::spawn(move || {
        if is_blocked(&seen) {
            end(BLOCKED_LIMIT);
        }
    });
    loop {
        polls.fetch_add(1, Ordering::Relaxed);
        sleep(TICK / 2).await;
    }
}

/// Measures until the main thread is blocked (returns `true`), or `polls` is dropped.
fn is_blocked(polls: &Weak<AtomicUsize>) -> bool {
    let (mut blocked, mut delay) = (Duration::ZERO, Duration::ZERO);
    let (mut last_poll, mut last_queued) = (0, queued());
    while let Some(polls) = polls.upgrade() {
        let poll = polls.load(Ordering::Relaxed);
        drop(polls);
        let since = Instant::now();
        machine().ticked = Some(since);
        thread::sleep(TICK);
        let (time, now_queued) = (since.elapsed(), queued());
        let late = time.saturating_sub(TICK);
        let waited = late.max(now_queued.saturating_sub(last_queued)).min(time);
        // A delay goes on as long as the machine keeps us waiting for most of the time.
        delay = if waited > time / 2 { delay + waited } else { Duration::ZERO };
        let mut machine = machine();
        machine.late += late;
        machine.ticked = Some(Instant::now());
        machine.standstill = machine.standstill.max(late);
        machine.note_delay(delay);
        drop(machine);

        let own = time - waited; // for the rest the answer is not to blame
        blocked = if poll == last_poll { blocked + own } else { blocked.saturating_sub(own) };
        (last_poll, last_queued) = (poll, now_queued);
        if blocked > BLOCKED_LIMIT {
            return true;
        }
    }
    false
}

/// Returns how long the main thread, which runs the experiment, has waited for a processor so far.
/// Only Linux says so.
fn queued() -> Duration {
    let figures = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let waited = figures.split(' ').nth(1).and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// Notes whether the experiment is restarting etcd. Until it has done so, no response is late.
pub(crate) fn restarts_etcd(restarts: bool) {
    let mut machine = machine();
    machine.restarts = restarts;
    machine.probe = None;
}

/// Measures how fast etcd responds, in a thread of its own, because an answer may block the main
/// thread.
pub(crate) fn watch_etcd(server: SocketAddr) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(thread::spawn(move || probe(server))));
}

fn begin_probe(counts: bool, now: Instant) {
    let mut machine = machine();
    machine.probe = (counts && !machine.restarts).then_some(now);
}

fn end_probe(counts: bool) {
    let mut machine = machine();
    if let (Some(sent), true) = (machine.probe.take(), counts && !machine.restarts) {
        machine.note_delay(sent.elapsed());
    }
}

fn probe(server: SocketAddr) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut client = connect_to(server).await?;
        let mut was_up = false;
        loop {
            let since = Instant::now();
            // After an error the experiment may be about to restart etcd.
            begin_probe(was_up, since);
            // A read changes nothing, but it waits for the disk behind every write.
            was_up = within(NO_LIMIT, client.get("probe", None)).await.is_ok();
            end_probe(was_up);
            sleep(PROBE_INTERVAL).await;
        }
    })
}
