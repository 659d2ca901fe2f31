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
/// - if the program was killed, frozen or cut off, one TTL after its last renewal, and up to half a
///   second more. (A new leader of etcd starts the TTL again.)
///
/// The renewals end when the session and all its guards are dropped. A clone is the same session,
/// so closing one closes all. The session's tasks run on the runtime on which it was opened.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

/// The part that a session and its guards share. When the last of them is dropped, renewals end.
pub(crate) struct SessionInner {
    pub(crate) lease: Arc<Lease>,
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        self.lease.end();
    }
}

/// The lease and what all tasks of the session share.
pub(crate) struct Lease {
    pub(crate) client: Client,
    pub(crate) id: i64,
    pub(crate) ttl: Duration,
    pub(crate) runtime: Handle,
    /// The time at which etcd may end the lease unless it is renewed. `None`: the session is lost.
    deadline: watch::Sender<Option<Instant>>,
    /// The last version of the session's mark that etcd has told us.
    pub(crate) mark: AtomicI64,
    /// The session's place in each queue that it is using.
    places: Mutex<HashMap<String, Weak<AsyncMutex<Place>>>>,
    /// Held by the waiter whose turn it is to look at its queue again.
    look_permit: AsyncMutex<()>,
    /// Limits the transactions on their way: of thousands, etcd would refuse or delay many.
    room: Semaphore,
}

impl Session {
    /// Opens a session with this TTL. etcd counts in whole seconds, so `ttl` is rounded up. The
    /// shortest TTL that etcd grants is 1.5 election timeouts, by default 2 s.
    ///
    /// # Errors
    ///
    /// etcd refuses, or it doesn't respond within `ttl` or [`CONNECT_TIMEOUT`], whichever is
    /// shorter. The last attempt may take [`REQUEST_TIMEOUT`] longer.
    pub async fn open(client: &Client, ttl: Duration) -> Result<Session> {
        let limit = Instant::now() + ttl.min(CONNECT_TIMEOUT);
        // If etcd has granted a lease and only its response was lost, that lease expires unused.
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

    /// Returns the id of the lease. The session's keys in the queues end with it, in hexadecimal.
    pub fn lease(&self) -> i64 {
        self.inner.lease.id
    }

    /// Returns the TTL that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.inner.lease.ttl
    }

    /// Returns whether the lease still lives, by the local clock. This is only a hint: the lease
    /// can end right after the call, and the clock stands still while a laptop sleeps.
    pub fn is_alive(&self) -> bool {
        self.inner.lease.is_alive()
    }

    /// Waits until the session is lost: etcd reports that the lease is gone, or no renewal was
    /// confirmed for a whole TTL. A lost session stays lost.
    pub async fn lost(&self) {
        self.inner.lease.lost().await;
    }

    /// Ends the session and revokes its lease, so that its locks are free at once. Tries again if
    /// etcd doesn't respond. If this future is dropped, the session is lost, and the lease expires.
    ///
    /// # Errors
    ///
    /// The lease was already gone, etcd refuses, or it doesn't respond within the TTL. If etcd
    /// still has the lease, the lease expires.
    pub async fn close(self) -> Result<()> {
        let lease = &self.inner.lease;
        lease.end(); // before etcd responds, so that this session's waiters fail at once
        let limit = Instant::now() + lease.ttl;
        let revoke = || {
            let (mut leases, id) = (lease.client.lease_client(), lease.id);
            async move { leases.revoke(id).await }
        };
        match retry(&lease.client, [REQUEST_TIMEOUT; 2], || Instant::now() < limit, revoke).await {
            // An earlier attempt has revoked the lease, but its response was lost.
            (Err(error), true) if is_gone(&error) => Ok(()),
            (revoked, _) => revoked.map(drop).context("cannot revoke the session's lease"),
        }
    }

    /// Ends the session, even for its clones and guards, but keeps its lease and returns the
    /// lease's id. The locks stay locked until the lease expires, and the caller may renew it.
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
                return; // the deadline has passed without a renewal
            }
        }
    }

    fn end(&self) {
        self.deadline.send_replace(None);
    }

    /// Notes that etcd has confirmed a renewal. We count the TTL from when it was `sent`; etcd
    /// counts from its arrival, which is later. So our deadline comes first.
    fn prolong(&self, sent: Instant) {
        self.deadline.send_if_modified(|deadline| match deadline {
            // A response after the deadline doesn't count: a lost session stays lost.
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
            places.reserve(live + 1); // the next cleanup comes when there are twice as many
        }
        let place = Arc::new(AsyncMutex::new(Place::new(self, name)));
        places.insert(name.to_owned(), Arc::downgrade(&place));
        place
    }

    /// Sends a transaction, and retries until etcd responds or the session is lost. Returns the
    /// response, and whether the transaction was sent more than once: then etcd may carry it out
    /// more than once, even after this function has returned. Fails if etcd refuses it.
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

    /// Waits until a waiter of this session should look at its queue again: for 3 s, or half the
    /// TTL if that is shorter. If there are many waiters, they take turns, at most 20 per second.
    pub(crate) async fn time_to_look(&self) {
        sleep(Duration::from_secs(3).min(self.ttl / 2)).await;
        let _turn = self.look_permit.lock().await;
        sleep(PAUSE).await;
    }
}

/// The first pause after an error: a member may be down, or the cluster is electing a leader.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends a request again and again, until etcd responds to one of the attempts or refuses it, or
/// until `go_on` returns false. Also returns whether there was more than one attempt. Attempts
/// begin the first of the `steps` apart. After four of them, the step doubles, up to the second of
/// the `steps`. The pause after an error doubles, too, up to 0.8 s. Otherwise a thousand requests
/// to a slow etcd would become ten thousand.
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
        // The first and every other attempt is given up after one step. That makes the client's
        // channel go on to another member, as this one may be frozen. At most three others wait on.
        let patient = count % 2 == 1 && attempts.len() < 3;
        attempts.spawn(within(if patient { NO_LIMIT } else { step }, request()));
        count += 1;
        let none = async {
            sleep(PAUSE).await; // so that the attempt that is given up at this step ends first
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
                    // After a change of users, the old token usually still works. A JWT doesn't, so
                    // log in again. (A client of `common::connect` does so by itself.)
                    let _ = timeout(step, client.refresh_token()).await;
                }
            }
            Err(_) if count < 4 => {} // a frozen member: the next attempt goes to another member
            Err(_) => step = (2 * step).min(longest),
            response => return (response, count > 1),
        }
    }
}

/// Renews the lease every third of its TTL, until the session is lost.
async fn renew(lease: Arc<Lease>) {
    let (ttl, mut next) = (lease.ttl, lease.ttl / 3);
    loop {
        let renewal = async {
            sleep(next).await;
            let keep_alive = || {
                // Each renewal opens its own stream, so a broken stream costs only one renewal.
                let (mut leases, id, sent) =
                    (lease.client.lease_client(), lease.id, Instant::now());
                async move { leases.keep_alive(id).await.map(|_| sent) }
            };
            retry(&lease.client, [ttl / 15; 2], || lease.is_alive(), keep_alive).await.0
        };
        let renewed = tokio::select! {
            biased; // after a pause of this program, check first whether the session is lost
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

/// Returns whether etcd no longer has the lease.
fn is_gone(error: &anyhow::Error) -> bool {
    error.to_string().ends_with("lease not found")
}
