//! The lock: a queue of keys in etcd. The oldest key owns the lock.

use std::sync::atomic::Ordering::SeqCst;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::session::Session;

/// A lock. All locks of the same name exclude each other, in one session or in several. They also
/// exclude `etcdctl lock` and Go's `concurrency.Mutex`.
///
/// All keys below `name/` are the queue. So do not name one lock `a` and another one `a/b`: `a`
/// would wait for `a/b` too. If etcd has users, this program's user must be allowed to read and
/// write the keys that begin with `name/` or `name!`.
#[derive(Clone)]
pub struct Mutex {
    session: Session,
    name: String,
}

impl Mutex {
    /// Makes a mutex. Sends nothing to etcd.
    ///
    /// The mutex does not keep the session: when the last clone of `session` is dropped, the
    /// renewals end.
    pub fn new(session: &Session, name: impl Into<String>) -> Mutex {
        Mutex { session: Session { renewal: None, ..session.clone() }, name: name.into() }
    }

    /// Waits for the lock, without a limit, also while etcd cannot be reached. If the future is
    /// dropped, its key leaves the queue.
    ///
    /// # Errors
    ///
    /// The session is lost, or etcd refuses. The error does not wait for our turn in the queue.
    pub async fn lock(&self) -> Result<Guard> {
        tokio::select! {
            biased;
            () = self.session.lost() => bail!("cannot lock {}: the session is lost", self.name),
            guard = self.turn() => guard.with_context(|| format!("cannot lock {}", self.name)),
        }
    }

    async fn turn(&self) -> Result<Guard> {
        let mut guard = self.guard();
        while let Some(older) = guard.look().await? {
            // The end of the watch proves nothing: read the queue again. A limit, because a frozen
            // member would never end the watch.
            let _ = timeout(self.session.ttl, guard.wait(older)).await;
        }
        Ok(guard)
    }

    /// Takes the lock if no other contender has it or waits for it. Returns `None` otherwise.
    ///
    /// # Errors
    ///
    /// etcd refuses, or does not respond before the session is lost.
    pub async fn try_lock(&self) -> Result<Option<Guard>> {
        let mut guard = self.guard();
        match guard.look().await.with_context(|| format!("cannot lock {}", self.name))? {
            None => Ok(Some(guard)),
            Some(_) => guard.unlock().await.map(|_| None),
        }
    }

    /// Makes a guard that is not in the queue yet. Go's key is `name/lease`: with it, two tasks of
    /// one session would both get the lock. So ours has a number too.
    fn guard(&self) -> Guard {
        let number = self.session.numbers.fetch_add(1, SeqCst);
        let (name, id) = (&self.name, format!("{:x}-{number}", self.session.lease));
        let (key, mark) = (format!("{name}/{id}"), format!("{name}!{id}"));
        Guard { mutex: self.clone(), number, key, mark, revision: 0, left: false }
    }
}

/// A lock that is ours, for as long as the session lives. Dropping it unlocks in the background,
/// but not outside of a Tokio runtime.
///
/// The guard does not keep the session: when the last clone of the session is dropped, the renewals
/// end.
#[must_use = "dropping the guard gives the lock back"]
pub struct Guard {
    mutex: Mutex,
    number: u64,
    key: String,   // in the queue
    mark: String,  // beside the queue: while etcd has this key, it refuses to put the other one
    revision: i64, // the one in which etcd created our key; 0 before we know it
    left: bool,
}

impl Guard {
    /// Returns the fencing token: the revision in which etcd created our key. The tokens of all
    /// earlier holders are smaller.
    pub fn token(&self) -> i64 {
        self.revision
    }

    /// Returns a condition for [`Txn::when`]. With it, etcd carries out a transaction only while
    /// the lock is ours.
    pub fn is_owner(&self) -> Compare {
        Compare::create_revision(&*self.key, CompareOp::Equal, self.revision)
    }

    /// Unlocks. Returns `false` if the lock was lost before: another holder may have worked at the
    /// same time as we did.
    ///
    /// # Errors
    ///
    /// etcd refuses, or does not respond before the session is lost. The lock is then free when the
    /// session ends.
    pub async fn unlock(mut self) -> Result<bool> {
        self.left = true;
        self.leave().await?.context("cannot unlock")
    }

    /// Joins the queue, if we are not in it yet. Returns the key before ours; `None` means that the
    /// lock is ours. Fails if our own key is gone.
    async fn look(&mut self) -> Result<Option<Vec<u8>>> {
        // Reads the youngest keys of the queue (limit 0: all), without those younger than ours.
        let queue = |limit| {
            let keys = GetOptions::new().with_prefix().with_keys_only().with_limit(limit);
            let youngest = keys.with_sort(SortTarget::Create, SortOrder::Descend);
            let until_ours = youngest.with_max_create_revision(self.revision);
            TxnOp::get(format!("{}/", self.mutex.name), Some(until_ours))
        };
        let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
        let txn = match self.revision {
            // If the first attempt got no response, the second one finds the key of the first.
            0 => Txn::new()
                .when([absent(&self.key), absent(&self.mark)])
                .and_then([self.put(&self.key), queue(2)])
                .or_else([queue(0)]),
            _ => Txn::new().and_then([queue(2)]),
        };
        let (response, repeated) = self.mutex.session.txn(txn).await?;
        if self.revision == 0 && repeated {
            // A frozen member may carry out the first attempt after we have left the queue.
            self.mutex.session.txn(Txn::new().and_then([self.forbid()])).await?;
        }
        let Some(TxnOpResponse::Get(mut queue)) = response.op_responses().pop() else {
            bail!("etcd's answer lacks the queue");
        };
        let mut keys = queue.take_kvs().into_iter();
        let ours = keys.find(|kv| kv.key() == self.key.as_bytes());
        self.revision = ours.context("our key in the queue is gone")?.create_revision();
        Ok(keys.next().map(|kv| kv.key().to_vec()))
    }

    fn put(&self, key: &str) -> TxnOp {
        TxnOp::put(key, "", Some(PutOptions::new().with_lease(self.mutex.session.lease)))
    }

    /// Puts the mark, so that etcd refuses to put our key from now on. Takes another number: then
    /// ours is not the last one, and nobody uses it again.
    fn forbid(&self) -> TxnOp {
        self.mutex.session.numbers.fetch_add(1, SeqCst);
        self.put(&self.mark)
    }

    /// Waits until the key before ours is deleted. May return sooner.
    async fn wait(&mut self, older: Vec<u8>) -> Result<()> {
        // Watches from now on. Go and etcd's Lock RPC watch from a revision in the past, and etcd
        // serves such watches every 100 ms only.
        let mut client = self.mutex.session.client.watch_client();
        let mut watch = within(REQUEST_TIMEOUT, client.watch(&*older, None)).await?;
        watch.message().await?; // confirms the watch; the next line sees what happened before it
        if self.look().await? == Some(older) {
            watch.message().await?; // the deletion, or the end of the watch
        }
        Ok(())
    }

    /// Leaves the queue, in a task of its own, because the caller may be dropped. The task returns
    /// whether the lock was ours.
    fn leave(&self) -> JoinHandle<Result<bool>> {
        let (session, number) = (self.mutex.session.clone(), self.number);
        let delete = TxnOp::delete(&*self.key, None);
        let txn = match self.revision {
            // Our key may be in the queue, or a request that puts it may still be on its way.
            0 => Txn::new().and_then([delete, self.forbid()]),
            _ => Txn::new().when([self.is_owner()]).and_then([delete]),
        };
        tokio::spawn(async move {
            let (response, repeated) = session.txn(txn).await?;
            // Use the last number again: etcd reads a queue more slowly, the more keys the queue
            // has had since the last compaction.
            let _ = session.numbers.compare_exchange(number + 1, number, SeqCst, SeqCst);
            // If the session lives, an earlier attempt has deleted the key, and got no response.
            Ok(response.succeeded() || repeated && session.is_alive())
        })
    }
}

impl Drop for Guard {
    /// Unlocks in the background, if the program and the connection live long enough. Outside of a
    /// Tokio runtime it does nothing.
    fn drop(&mut self) {
        if !self.left && Handle::try_current().is_ok() {
            self.leave();
        }
    }
}
