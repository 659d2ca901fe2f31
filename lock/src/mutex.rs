//! The lock: a queue of keys in etcd, of which the oldest is the owner's.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse, WatchFilterType, WatchOptions,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::session::{Lease, Session};

/// A lock: everybody's of the same name exclude each other, whether in the same session or not,
/// and with them `etcdctl lock` and Go's `concurrency.Mutex`.
///
/// As with these two, all keys below `name/` are its queue: do not name one lock `a` and
/// another `a/b`, since `a` would wait for `a/b` too.
#[derive(Clone)]
pub struct Mutex {
    lease: Arc<Lease>,
    name: String,
}

impl Mutex {
    /// Sends nothing to etcd yet.
    pub fn new(session: &Session, name: impl Into<String>) -> Mutex {
        Mutex { lease: session.lease.clone(), name: name.into() }
    }

    /// Waits for the lock, for as long as it takes, also while etcd is away. Dropping the future
    /// leaves the queue. Fails at once if the session is lost, or if etcd refuses.
    pub async fn lock(&self) -> Result<Guard> {
        tokio::select! {
            biased;
            () = self.lease.lost() => bail!("cannot lock {}: the session is lost", self.name),
            guard = self.turn() => guard.with_context(|| format!("cannot lock {}", self.name)),
        }
    }

    /// Takes the lock if nobody has it or waits for it. Fails as [`lock`](Mutex::lock) does.
    pub async fn try_lock(&self) -> Result<Option<Guard>> {
        match self.join().await.with_context(|| format!("cannot lock {}", self.name))? {
            (guard, None) => Ok(Some(guard)),
            (guard, Some(_)) => guard.unlock().await.map(|_| None),
        }
    }

    /// Waits until nobody in the queue is before us.
    async fn turn(&self) -> Result<Guard> {
        let (mut guard, mut older) = self.join().await?;
        while let Some(entry) = older {
            // Whatever ends the wait, a look decides. A member that is frozen, or cut off from
            // the others, does not end it: therefore the limit.
            let _ = timeout(self.lease.ttl, guard.wait(&entry)).await;
            older = guard.look().await?;
        }
        Ok(guard)
    }

    /// Joins the queue and tells who is before us. If the caller goes away, the task stays until
    /// etcd has answered, and then drops the guard: a deletion sent now might overtake the put.
    async fn join(&self) -> Result<(Guard, Option<KeyValue>)> {
        let (lease, name) = (self.lease.clone(), self.name.clone());
        tokio::spawn(async move {
            // Go's key is `name/lease`, which would let two tasks of a session in. Ours adds a
            // number, used again once etcd has confirmed its deletion: reading the queue takes
            // etcd the longer, the more keys it had since the last compaction.
            let key = (0..)
                .map(|number| format!("{name}/{:x}-{number}", lease.id))
                .find(|key| lease.keys().insert(key.clone()));
            let key = key.context("no number left")?;
            let (on_lease, revision) = (PutOptions::new().with_lease(lease.id), 0);
            let mut guard = Guard { lease, name, key, revision, may_return: false };
            // When sent again after an attempt without an answer, it finds its key there.
            let join = Txn::new()
                .when([Compare::create_revision(&*guard.key, CompareOp::Equal, 0)])
                .and_then([TxnOp::put(&*guard.key, "", Some(on_lease)), guard.queue(2)])
                .or_else([guard.queue(0)]);
            let older = guard.read(join).await?;
            Ok((guard, older))
        })
        .await?
    }
}

/// The lock, held for as long as the session lives.
#[must_use = "dropping the guard gives the lock back"]
pub struct Guard {
    lease: Arc<Lease>,
    name: String,
    key: String,
    revision: i64,
    /// An attempt to put the key was not answered, and may be carried out at any time.
    may_return: bool,
}

impl Guard {
    /// The fencing token: the revision in which etcd created our key. The tokens of all earlier
    /// holders are smaller.
    pub fn token(&self) -> i64 {
        self.revision
    }

    /// For [`Txn::when`]: lets etcd carry out a transaction only while the lock is ours.
    pub fn is_owner(&self) -> Compare {
        Compare::create_revision(&*self.key, CompareOp::Equal, self.revision)
    }

    /// Gives the lock back. False: it was no longer ours, and another may have held it during
    /// our work. Fails if etcd refuses, or does not answer while the session lives.
    pub async fn unlock(mut self) -> Result<bool> {
        let (answer, repeated) = self.lease.txn(self.removal()).await.context("cannot unlock")?;
        self.revision = 0;
        self.lease.forget(&self.key, self.may_return);
        // In a session that lives, it was an attempt without an answer that deleted the key.
        Ok(answer.succeeded() || repeated && self.lease.is_alive())
    }

    /// Deletes our key, and no other that has come in its place.
    fn removal(&self) -> Txn {
        Txn::new().when([self.is_owner()]).and_then([TxnOp::delete(&*self.key, None)])
    }

    /// The youngest keys in the queue, at most `limit` (0: all); once we know the revision of our
    /// key, those not younger than it.
    fn queue(&self, limit: i64) -> TxnOp {
        let youngest = GetOptions::new()
            .with_prefix()
            .with_max_create_revision(self.revision)
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(limit)
            .with_keys_only();
        TxnOp::get(format!("{}/", self.name), Some(youngest))
    }

    /// Tells who is before us. If nobody is and our own key is there, the lock is ours.
    async fn look(&mut self) -> Result<Option<KeyValue>> {
        self.read(Txn::new().and_then([self.queue(2)])).await
    }

    /// Carries out a transaction that ends in [`queue`](Guard::queue).
    async fn read(&mut self, txn: Txn) -> Result<Option<KeyValue>> {
        let (answer, repeated) = self.lease.txn(txn).await?;
        self.may_return |= repeated && self.revision == 0;
        let Some(TxnOpResponse::Get(mut queue)) = answer.op_responses().pop() else {
            bail!("etcd's answer lacks the queue");
        };
        let mut keys = queue.take_kvs().into_iter();
        let ours = keys.find(|kv| kv.key() == self.key.as_bytes());
        self.revision = ours.context("our key in the queue is gone")?.create_revision();
        Ok(keys.next())
    }

    /// Waits until the key before ours is deleted; may end sooner.
    async fn wait(&mut self, older: &KeyValue) -> Result<()> {
        // From now on: Go and etcd's Lock RPC watch from a revision in the past, which etcd
        // serves only every 100 ms.
        let deletions = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
        let mut client = self.lease.client.watch_client();
        let watch = client.watch(older.key(), Some(deletions));
        let mut watch = within(REQUEST_TIMEOUT, watch).await?;
        watch.message().await?; // the watch is confirmed; what happened before it, a look tells
        if self.look().await?.is_some_and(|now| now.key() == older.key()) {
            watch.message().await?; // a deletion, or the end of the watch
        }
        Ok(())
    }
}

impl Drop for Guard {
    /// Gives the lock back, unless the program ends or the connection breaks too soon.
    fn drop(&mut self) {
        if self.revision != 0
            && let Ok(runtime) = Handle::try_current()
        {
            let (lease, key, removal) = (self.lease.clone(), self.key.clone(), self.removal());
            let may_return = self.may_return;
            runtime.spawn(async move {
                if lease.txn(removal).await.is_ok() {
                    lease.forget(&key, may_return);
                }
            });
        }
    }
}
