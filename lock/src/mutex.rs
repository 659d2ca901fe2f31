//! The lock: a queue of keys in etcd, of which the oldest is the owner's.

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

/// A lock: everybody's of the same name exclude each other, whether in the same session or not,
/// and with them `etcdctl lock` and Go's `concurrency.Mutex`.
///
/// As with these two, all keys below `name/` are its queue: do not name one lock `a` and
/// another `a/b`, since `a` would wait for `a/b` too. Where etcd has users, it takes permission to
/// read and write what begins with `name/` and with `name!`.
#[derive(Clone)]
pub struct Mutex {
    session: Session,
    name: String,
}

impl Mutex {
    /// Sends nothing to etcd yet.
    pub fn new(session: &Session, name: impl Into<String>) -> Mutex {
        Mutex { session: Session { renewal: None, ..session.clone() }, name: name.into() }
    }

    /// Waits for the lock, for as long as it takes, also while etcd is away. Dropping the future
    /// leaves the queue. Fails at once if the session is lost, or if etcd refuses.
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
            // Whatever ends the wait, a look decides. A frozen member would never end it.
            let _ = timeout(self.session.ttl, guard.wait(older)).await;
        }
        Ok(guard)
    }

    /// Takes the lock if nobody has it or waits for it. Fails as [`lock`](Mutex::lock) does.
    pub async fn try_lock(&self) -> Result<Option<Guard>> {
        let mut guard = self.guard();
        match guard.look().await.with_context(|| format!("cannot lock {}", self.name))? {
            None => Ok(Some(guard)),
            Some(_) => guard.unlock().await.map(|_| None),
        }
    }

    /// Go's key is `name/lease`, which would let two tasks of a session in. Ours has a number too.
    fn guard(&self) -> Guard {
        let number = self.session.numbers.fetch_add(1, SeqCst);
        let (name, id) = (&self.name, format!("{:x}-{number}", self.session.lease));
        let (key, mark) = (format!("{name}/{id}"), format!("{name}!{id}"));
        Guard { mutex: self.clone(), number, key, mark, revision: 0, left: false }
    }
}

/// The lock, held for as long as the session lives.
#[must_use = "dropping the guard gives the lock back"]
pub struct Guard {
    mutex: Mutex,
    number: u64,
    key: String,   // ours in the queue
    mark: String,  // a key beside the queue: while it is there, ours cannot be put
    revision: i64, // in which etcd created our key; 0 until it has said so
    left: bool,
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
        self.left = true;
        self.leave().await?.context("cannot unlock")
    }

    /// Tells who is before us in the queue, which we join if we have not. If nobody is and our
    /// own key is there, the lock is ours.
    async fn look(&mut self) -> Result<Option<Vec<u8>>> {
        // The youngest (limit 0: all), but none that is younger than ours.
        let queue = |limit| {
            let keys = GetOptions::new().with_prefix().with_keys_only().with_limit(limit);
            let youngest = keys.with_sort(SortTarget::Create, SortOrder::Descend);
            let until_ours = youngest.with_max_create_revision(self.revision);
            TxnOp::get(format!("{}/", self.mutex.name), Some(until_ours))
        };
        let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
        let txn = match self.revision {
            // When sent again after an attempt without an answer, it finds our key there.
            0 => Txn::new()
                .when([absent(&self.key), absent(&self.mark)])
                .and_then([self.put(&self.key), queue(2)])
                .or_else([queue(0)]),
            _ => Txn::new().and_then([queue(2)]),
        };
        let (answer, repeated) = self.mutex.session.txn(txn).await?;
        if self.revision == 0 && repeated {
            // A member that was frozen might go on, and put our key when we have left.
            self.mutex.session.txn(Txn::new().and_then([self.forbid()])).await?;
        }
        let Some(TxnOpResponse::Get(mut queue)) = answer.op_responses().pop() else {
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

    /// Lets our key never be put again: its number is not the last any more, so it stays in use.
    fn forbid(&self) -> TxnOp {
        self.mutex.session.numbers.fetch_add(1, SeqCst);
        self.put(&self.mark)
    }

    /// Waits until the key before ours is deleted; may end sooner.
    async fn wait(&mut self, older: Vec<u8>) -> Result<()> {
        // From now on: Go and etcd's Lock RPC watch from a revision in the past, which etcd
        // serves only every 100 ms.
        let mut client = self.mutex.session.client.watch_client();
        let mut watch = within(REQUEST_TIMEOUT, client.watch(&*older, None)).await?;
        watch.message().await?; // the watch is confirmed; what happened before it, a look tells
        if self.look().await? == Some(older) {
            watch.message().await?; // a deletion, or the end of the watch
        }
        Ok(())
    }

    /// Leaves the queue, also if the caller goes away meanwhile. True: the lock was ours.
    fn leave(&self) -> JoinHandle<Result<bool>> {
        let (session, number) = (self.mutex.session.clone(), self.number);
        let delete = TxnOp::delete(&*self.key, None);
        let txn = match self.revision {
            // Our key may be there, or about to be put.
            0 => Txn::new().and_then([delete, self.forbid()]),
            _ => Txn::new().when([self.is_owner()]).and_then([delete]),
        };
        tokio::spawn(async move {
            let (answer, repeated) = session.txn(txn).await?;
            // The last number is used again, for the more keys a queue has had since the last
            // compaction, the longer etcd takes to read it.
            let _ = session.numbers.compare_exchange(number + 1, number, SeqCst, SeqCst);
            // In a session that lives, it was an attempt without an answer that deleted the key.
            Ok(answer.succeeded() || repeated && session.is_alive())
        })
    }
}

impl Drop for Guard {
    /// Gives the lock back, unless the program ends or the connection breaks too soon.
    fn drop(&mut self) {
        if !self.left && Handle::try_current().is_ok() {
            self.leave();
        }
    }
}
