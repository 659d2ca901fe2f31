//! A session: the lease of one contender, and its renewals.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicI64};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{CONNECT_TIMEOUT, NO_LIMIT, REQUEST_TIMEOUT, RequestError, is_refusal, within};
use etcd_client::{Client, Error, Txn, TxnResponse};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::queue::Place;

/// One contender for locks: a lease, and a task that renews it in the background.
///
/// The locks of a session are free when its lease ends:
///
/// - milliseconds after [`close`](Session::close);
/// - if the program was killed, frozen or cut off: the TTL after the last renewal, and half a
///   second more at most. (A new leader of etcd starts the TTL again.)
///
/// The renewals end when the session and all its guards are dropped. A clone is the same session:
/// closing one ends all. Its tasks run on the runtime on which it was opened.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

/// What the session and its guards share: when the last of them is dropped, the renewals end.
pub(crate) struct SessionInner {
    pub(crate) lease: Arc<Lease>,
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        self.lease.end();
    }
}

/// The lease, as the session, its mutexes and its tasks know it.
pub(crate) struct Lease {
    pub(crate) client: Client,
    pub(crate) id: i64,
    pub(crate) ttl: Duration,
    pub(crate) runtime: Handle,
    /// When etcd may end the lease if it is not renewed. `None`: the session is lost.
    deadline: watch::Sender<Option<Instant>>,
    /// The version of the session's mark in etcd, as we know it.
    pub(crate) mark: AtomicI64,
    /// The session's place in each queue that it is using.
    places: Mutex<HashMap<String, Weak<AsyncMutex<Place>>>>,
    /// Whose turn it is to look at a queue again.
    look_permit: AsyncMutex<()>,
    /// How many more transactions may be on their way: thousands of them would be refused, given up
    /// and sent again.
    room: Semaphore,
}

impl Session {
    /// Opens a session with this TTL. etcd counts in whole seconds, so `ttl` is rounded up. The
    /// shortest TTL that etcd grants is 1.5 election timeouts, by default 2 s.
    ///
    /// # Errors
    ///
    /// etcd refuses, or does not respond within `ttl` or [`CONNECT_TIMEOUT`], whichever is shorter,
    /// and up to [`REQUEST_TIMEOUT`] more.
    pub async fn open(client: &Client, ttl: Duration) -> Result<Session> {
        let limit = Instant::now() + ttl.min(CONNECT_TIMEOUT);
        // If an attempt without a response was granted a lease, it is not used and runs out.
        let grant = || {
            let (asked, mut leases) = (Instant::now(), client.lease_client());
            let seconds = ttl.as_secs_f64().ceil() as i64;
            async move { Ok((asked, leases.grant(seconds, None).await?)) }
        };
        let (granted, _) =
            retry(client, [REQUEST_TIMEOUT; 2], || Instant::now() < limit, grant).await;
        let (asked, grant) = granted.context("cannot open a session")?;
        let ttl = Duration::from_secs(grant.ttl().unsigned_abs());
        let lease = Arc::new(Lease {
            client: client.clone(),
            id: grant.id(),
            ttl,
            runtime: Handle::current(),
            deadline: watch::Sender::new(Some(asked + ttl)),
            mark: AtomicI64::new(0),
            places: Mutex::default(),
            look_permit: AsyncMutex::default(),
            room: Semaphore::new(200),
        });
        tokio::spawn(renew(Arc::clone(&lease)));
        Ok(Session { inner: Arc::new(SessionInner { lease }) })
    }

    /// Returns the id of the lease. In hexadecimal it is a part of the session's keys in the queue.
    pub fn lease(&self) -> i64 {
        self.inner.lease.id
    }

    /// Returns the TTL that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.inner.lease.ttl
    }

    /// Returns whether the lease still lives, by the local clock. This is only a hint: the lease
    /// can end just after this call, and the local clock stands still while a laptop sleeps.
    pub fn is_alive(&self) -> bool {
        self.inner.lease.is_alive()
    }

    /// Waits until the session is lost: etcd says that the lease is gone, or no renewal was
    /// confirmed in time for a TTL. A lost session stays lost.
    pub async fn lost(&self) {
        self.inner.lease.lost().await;
    }

    /// Ends the session and revokes its lease, so that its locks are free at once. Asks again if
    /// etcd does not respond. If this future is dropped, the session has ended all the same, and
    /// its lease runs out.
    ///
    /// # Errors
    ///
    /// The lease was gone before, etcd refuses, or it does not respond within the TTL. If etcd still
    /// has the lease, the lease runs out.
    pub async fn close(self) -> Result<()> {
        let lease = &self.inner.lease;
        lease.end(); // waiters in this session get their error now, before etcd responds
        let limit = Instant::now() + lease.ttl;
        let revoke = || {
            let (mut leases, id) = (lease.client.lease_client(), lease.id);
            async move { leases.revoke(id).await }
        };
        match retry(&lease.client, [REQUEST_TIMEOUT; 2], || Instant::now() < limit, revoke).await {
            // An earlier attempt has revoked it, and got no response.
            (Err(error), true) if is_gone(&error) => Ok(()),
            (revoked, _) => revoked.map(drop).context("cannot revoke the session's lease"),
        }
    }

    /// Ends the session, also for its clones and guards, but not its lease. Returns the id of the lease. The
    /// locks stay locked until the lease runs out. The caller may renew it.
    pub fn orphan(self) -> i64 {
        self.inner.lease.end();
        self.lease()
    }
}

impl Lease {
    pub(crate) fn is_alive(&self) -> bool {
        self.deadline.borrow().is_some_and(|end| Instant::now() < end)
    }

    pub(crate) async fn lost(&self) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let Some(end) = *deadline.borrow_and_update() else { return };
            if timeout_at(end, deadline.changed()).await.is_err() {
                return; // nothing has changed until the end
            }
        }
    }

    fn end(&self) {
        self.deadline.send_replace(None);
    }

    /// Notes that etcd has confirmed a renewal. It starts the TTL again when the renewal arrives, which
    /// is later than it was `sent`.
    fn prolong(&self, sent: Instant) {
        self.deadline.send_if_modified(|deadline| match deadline {
            // A response after the deadline does not count, even if etcd still has the lease.
            Some(end) if Instant::now() < *end => {
                *end = (*end).max(sent + self.ttl);
                true
            }
            _ => false,
        });
    }

    /// Returns the session's place in the queue of this name: one for all tasks of the session.
    pub(crate) fn place(self: &Arc<Lease>, name: &str) -> Arc<AsyncMutex<Place>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(name).and_then(Weak::upgrade) {
            return place;
        }
        if places.len() == places.capacity() {
            places.retain(|_, place| place.strong_count() > 0);
            let live = places.len();
            places.reserve(live + 1); // so that this happens again when they are twice as many
        }
        let place = Arc::new(AsyncMutex::new(Place::new(self, name)));
        places.insert(name.to_owned(), Arc::downgrade(&place));
        place
    }

    /// Sends a transaction, and retries until etcd responds or the session is lost. Returns the
    /// response, and whether the transaction was sent more than once. If it was, etcd may carry it
    /// out more than once, also later. Fails if etcd refuses it.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<(TxnResponse, bool)> {
        let send = || {
            let (mut kv, txn) = (self.client.kv_client(), txn.clone());
            async move { kv.txn(txn).await }
        };
        let _room = self.room.acquire().await;
        let steps = [REQUEST_TIMEOUT, 8 * REQUEST_TIMEOUT];
        let (response, repeated) = retry(&self.client, steps, || self.is_alive(), send).await;
        Ok((response?, repeated))
    }

    /// Waits until a waiter of this session shall look at its queue again: after 3 s, or half the
    /// TTL if that is shorter. If many wait, they take turns, at most 20 per second.
    pub(crate) async fn time_to_look(&self) {
        sleep(Duration::from_secs(3).min(self.ttl / 2)).await;
        let _turn = self.look_permit.lock().await;
        sleep(PAUSE).await;
    }
}

/// Before the next attempt after an error: a member may be down, or the cluster elects a leader.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends a request again until etcd responds to one of the attempts or refuses it, or we must not
/// `go_on`. Also returns whether there was more than one attempt. After four attempts, doubles the
/// step to the next one, up to the second of the `steps`. Doubles the pause after an error, up to
/// 0.8 s. So a thousand requests that etcd is slow to carry out do not become ten thousand.
async fn retry<T: Send + 'static, R>(
    client: &Client,
    steps: [Duration; 2],
    go_on: impl Fn() -> bool,
    request: impl Fn() -> R,
) -> (Result<T>, bool)
where
    R: Future<Output = Result<T, Error>> + Send + 'static,
{
    let ([mut step, longest], mut pause) = (steps, PAUSE);
    let (mut attempts, mut count) = (JoinSet::new(), 0);
    loop {
        // The first and every other attempt is given up soon, which makes the client's channel go on
        // to the next member: this one may be frozen. Three at most wait for a slow etcd.
        let patient = count % 2 == 1 && attempts.len() < 3;
        attempts.spawn(within(if patient { NO_LIMIT } else { step }, request()));
        count += 1;
        let none = async {
            sleep(PAUSE).await; // so that an attempt that is given up at this step comes first
            within(step, pending()).await
        };
        let response = tokio::select! {
            Some(Ok(response)) = attempts.join_next() => response,
            none = none => none,
        };
        match response {
            Err(error) if is_refusal(&error) || !go_on() => return (Err(error), count > 1),
            Err(error) if error.is::<RequestError>() => {
                sleep(pause).await;
                if !error.to_string().ends_with("auth store is old") {
                    pause = (2 * pause).min(16 * PAUSE).min(steps[0]);
                } else if count % 4 == 0 {
                    // After a change of users the same token may do. If it doesn't, it is a JWT, and
                    // a new log-in helps. (A client of `common::connect` does that by itself.)
                    let _ = timeout(step, client.refresh_token()).await;
                }
            }
            Err(_) if count < 4 => {} // a member may be frozen, and another one is not
            Err(_) => step = (2 * step).min(longest),
            response => return (response, count > 1),
        }
    }
}

/// Renews the lease every third of its TTL, until it is lost. Go's client does this silently.
async fn renew(lease: Arc<Lease>) {
    let (ttl, mut next) = (lease.ttl, lease.ttl / 3);
    loop {
        let renewal = async {
            sleep(next).await;
            let keep_alive = || {
                // Each renewal has a stream of its own, so no stream has to be repaired.
                let (mut leases, id, sent) =
                    (lease.client.lease_client(), lease.id, Instant::now());
                async move { leases.keep_alive(id).await.map(|_| sent) }
            };
            retry(&lease.client, [ttl / 15; 2], || lease.is_alive(), keep_alive).await.0
        };
        let renewed = tokio::select! {
            biased; // after a pause of this program nothing must renew a lost session
            () = lease.lost() => return,
            renewed = renewal => renewed,
        };
        next = match renewed {
            Ok(sent) => {
                lease.prolong(sent);
                (ttl / 3).saturating_sub(sent.elapsed())
            }
            Err(error) if is_gone(&error) => return lease.end(),
            Err(_) => ttl / 15,
        };
    }
}

/// Whether etcd does not have the lease.
fn is_gone(error: &anyhow::Error) -> bool {
    error.to_string().ends_with("lease not found")
}
