//! The lock, and the guard of the one who has it.

use std::sync::{Arc, Weak};

use anyhow::{Context, Result, anyhow, bail};
use common::REQUEST_TIMEOUT;
use etcd_client::{Compare, CompareOp};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use tokio::time::sleep;

use crate::queue::Place;
use crate::session::{Lease, Session, SessionInner};

/// A lock. All locks of the same name exclude each other, in one session or in several. They also
/// exclude `etcdctl lock` and Go's `concurrency.Mutex`.
///
/// All keys below `name/` are the queue. So do not name one lock `a` and another one `a/b`: `a`
/// would wait for those that have or want `a/b`, too. If etcd has users, this program's user must be
/// allowed to read and write the keys that begin with `name/` or `session!`.
#[derive(Clone)]
pub struct Mutex {
    name: String,
    session: Weak<SessionInner>,
    lease: Arc<Lease>,
    place: Arc<AsyncMutex<Place>>,
}

impl Mutex {
    /// Makes a mutex. Sends nothing to etcd. A mutex does not keep its session.
    pub fn new(session: &Session, name: impl Into<String>) -> Mutex {
        let (name, lease) = (name.into(), Arc::clone(&session.inner.lease));
        let (session, place) = (Arc::downgrade(&session.inner), lease.place(&name));
        Mutex { name, session, lease, place }
    }

    /// Waits for the lock, without a limit, also while etcd cannot be reached. If the future is
    /// dropped, its key leaves the queue. Tasks that share a session take turns, and the session is
    /// in the queue for one of them at a time.
    ///
    /// # Errors
    ///
    /// The session is lost, or etcd refuses. The error does not wait for our turn in the queue.
    pub async fn lock(&self) -> Result<Guard> {
        self.contend(true).await?.with_context(|| format!("cannot lock {}", self.name))
    }

    /// Takes the lock if no other contender has it or waits for it. Returns `None` otherwise, and
    /// has then written nothing.
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
                Err(_) => return Ok(None), // another task of this session has it
            };
            let (tell, told) = oneshot::channel();
            // In a task of its own: the caller may go away at any time, and etcd has to be told.
            self.lease.runtime.spawn(contend(place, wait, self.session.clone(), tell));
            told.await.unwrap_or_else(|_| bail!("the session's runtime has ended"))
        };
        tokio::select! {
            biased;
            () = self.lease.lost() => bail!("cannot lock {}: the session is lost", self.name),
            result = contend => result.with_context(|| format!("cannot lock {}", self.name)),
        }
    }
}

/// Tells whether the lock is ours. Leaves the queue when the caller waits no more, or unlocks or
/// drops the guard.
async fn contend(
    mut place: OwnedMutexGuard<Place>,
    wait: bool,
    session: Weak<SessionInner>,
    mut tell: oneshot::Sender<Result<Option<Guard>>>,
) {
    let acquired = tokio::select! {
        () = tell.closed() => Ok(false),
        acquired = place.acquire(wait) => acquired,
    };
    // From here on the session lives as long as the guard. Without a session the caller knows.
    let (Ok(true), Some(_session)) = (&acquired, session.upgrade()) else {
        let left = place.leave().await;
        drop(place);
        return drop(tell.send(acquired.and(left).map(|_| None)));
    };
    let (unlock, unlocked) = oneshot::channel::<oneshot::Sender<_>>();
    let (lease, token, key) = (Arc::clone(&place.lease), place.revision, place.key.clone());
    drop(tell.send(Ok(Some(Guard { lease, token, key, unlock }))));
    let reply = unlocked.await;
    let left = place.leave().await;
    drop(place); // before the caller can ask for the lock again
    if let Ok(reply) = reply {
        drop(reply.send(left));
    }
}

/// A lock that is ours, for as long as the session lives. Dropping it unlocks in the background, if
/// the program and the session's runtime last long enough. The guard keeps its session.
#[must_use = "dropping the guard gives the lock back"]
pub struct Guard {
    lease: Arc<Lease>,
    token: i64,
    key: String,
    unlock: oneshot::Sender<oneshot::Sender<Result<bool>>>,
}

impl Guard {
    /// Returns the fencing token: the revision in which etcd created our key. The tokens of all
    /// earlier holders are smaller, unless etcd was restored from a backup.
    pub fn token(&self) -> i64 {
        self.token
    }

    /// Returns a condition for [`Txn::when`](etcd_client::Txn::when). With it, etcd carries out a transaction only while
    /// the lock is ours.
    pub fn is_owner(&self) -> Compare {
        Compare::create_revision(&*self.key, CompareOp::Equal, self.token)
    }

    /// Waits until the session is lost, and the lock with it: see [`Session::lost`].
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Unlocks. Returns `false` if the lock was lost before: another holder may have worked at the
    /// same time as we did.
    ///
    /// # Errors
    ///
    /// etcd refuses, or does not respond until 2 s after the loss of the session. The lock is then
    /// free when the session ends: close it.
    pub async fn unlock(self) -> Result<bool> {
        let (reply, replied) = oneshot::channel();
        let _ = self.unlock.send(reply); // without a receiver there is no reply either
        let late = async {
            self.lease.lost().await;
            sleep(2 * REQUEST_TIMEOUT).await; // etcd may know whether the lock was ours until now
        };
        let left = tokio::select! {
            left = replied => left.unwrap_or_else(|_| bail!("the session's runtime has ended")),
            () = late => Err(anyhow!("the session is lost")),
        };
        left.context("cannot unlock")
    }
}
