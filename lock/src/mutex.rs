//! The lock, and the guard of its holder.

use std::sync::{Arc, Weak};

use anyhow::{Context, Result, anyhow, bail};
use common::REQUEST_TIMEOUT;
use etcd_client::{Compare, CompareOp};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use tokio::time::sleep;

use crate::queue::Place;
use crate::session::{Lease, Session, SessionInner};

/// A lock. Locks of the same name exclude each other, whether in one session or in several. They
/// also exclude `etcdctl lock` and Go's `concurrency.Mutex`.
///
/// All keys below `name/` are the queue. So don't call two locks `a` and `a/b`: `a` would also
/// wait for every contender of `a/b`. If etcd has users, this program's user must be allowed to
/// read and write the keys that begin with `name/` or `session!`.
#[derive(Clone)]
pub struct Mutex {
    name: String,
    session: Weak<SessionInner>,
    lease: Arc<Lease>,
    place: Arc<AsyncMutex<Place>>,
}

impl Mutex {
    /// Makes a mutex, without a request to etcd. A mutex doesn't keep its session alive.
    pub fn new(session: &Session, name: impl Into<String>) -> Mutex {
        let (name, lease) = (name.into(), Arc::clone(&session.inner.lease));
        let (session, place) = (Arc::downgrade(&session.inner), lease.place(&name));
        Mutex { name, session, lease, place }
    }

    /// Waits for the lock, without a limit, even while etcd can't be reached. If the future is
    /// dropped, its key leaves the queue. Tasks that share a session take turns: the session is in
    /// the queue for one of them at a time.
    ///
    /// # Errors
    ///
    /// The session is lost, or etcd refuses. The error comes at once, and not at our turn.
    pub async fn lock(&self) -> Result<Guard> {
        self.contend(true).await?.with_context(|| format!("cannot lock {}", self.name))
    }

    /// Takes the lock if no other contender has it or waits for it. Otherwise, returns `None` and
    /// writes nothing.
    ///
    /// # Errors
    ///
    /// The session is lost, or etcd refuses.
    pub async fn try_lock(&self) -> Result<Option<Guard>> {
        self.contend(false).await
    }

    async fn contend(&self, wait: bool) -> Result<Option<Guard>> {
        let contend = async {
            let place = match Arc::clone(&self.place).try_lock_owned() {
                Ok(place) => place,
                Err(_) if wait => Arc::clone(&self.place).lock_owned().await,
                Err(_) => return Ok(None), // another task of this session uses the place
            };
            let (caller, outcome) = oneshot::channel();
            // A task of its own, because our future may be dropped while the key is in the queue.
            self.lease.runtime.spawn(hold_for(caller, place, wait, self.session.clone()));
            outcome.await.unwrap_or_else(|_| bail!("the session's runtime has ended"))
        };
        tokio::select! {
            biased;
            () = self.lease.lost() => bail!("cannot lock {}: the session is lost", self.name),
            result = contend => result.with_context(|| format!("cannot lock {}", self.name)),
        }
    }
}

/// Acquires the lock and sends its guard to the caller. Leaves the queue when the caller has gone
/// away, or has unlocked or dropped the guard.
async fn hold_for(
    mut caller: oneshot::Sender<Result<Option<Guard>>>,
    mut place: OwnedMutexGuard<Place>,
    wait: bool,
    session: Weak<SessionInner>,
) {
    let acquired = tokio::select! {
        () = caller.closed() => Ok(false),
        acquired = place.acquire(wait) => acquired,
    };
    // `_session` keeps the session as long as the guard lives. Without one, `lock` has failed.
    let (Ok(true), Some(_session)) = (&acquired, session.upgrade()) else {
        let left = place.leave().await;
        drop(place);
        return drop(caller.send(acquired.and(left).map(|_| None)));
    };
    let (unlock, unlocked) = oneshot::channel::<oneshot::Sender<_>>();
    let (lease, token, key) = (Arc::clone(&place.lease), place.revision, place.key.clone());
    drop(caller.send(Ok(Some(Guard { lease, token, key, unlock }))));
    let reply = unlocked.await;
    let left = place.leave().await;
    drop(place); // before the reply, so that the caller's next `try_lock` finds the place free
    if let Ok(reply) = reply {
        drop(reply.send(left));
    }
}

/// A lock that we hold as long as the session lives. Dropping the guard unlocks in the background,
/// if the program and the session's runtime last long enough. The guard keeps its session alive.
#[must_use = "dropping the guard unlocks"]
pub struct Guard {
    lease: Arc<Lease>,
    token: i64,
    key: String,
    unlock: oneshot::Sender<oneshot::Sender<Result<bool>>>,
}

impl Guard {
    /// Returns the fencing token: the revision at which etcd created our key. It is larger than the
    /// tokens of all earlier holders, unless etcd was restored from a backup.
    pub fn token(&self) -> i64 {
        self.token
    }

    /// Returns a condition for [`Txn::when`](etcd_client::Txn::when), with which etcd carries out a
    /// transaction only while the lock is ours.
    pub fn is_owner(&self) -> Compare {
        Compare::create_revision(&*self.key, CompareOp::Equal, self.token)
    }

    /// Waits until the session is lost, and with it the lock: see [`Session::lost`].
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Unlocks. Returns `false` if we had already lost the lock: another holder may have worked at
    /// the same time.
    ///
    /// # Errors
    ///
    /// etcd refuses, or the session is lost and etcd hasn't responded 2 s later. The lock is then
    /// free once the lease is gone: close the session.
    pub async fn unlock(self) -> Result<bool> {
        let (reply, replied) = oneshot::channel();
        let _ = self.unlock.send(reply); // if the task is gone, `replied` fails
        let late = async {
            self.lease.lost().await;
            sleep(2 * REQUEST_TIMEOUT).await; // etcd may still respond
        };
        let left = tokio::select! {
            left = replied => left.unwrap_or_else(|_| bail!("the session's runtime has ended")),
            () = late => Err(anyhow!("the session is lost")),
        };
        left.context("cannot unlock")
    }
}
