//! The queue: the keys in etcd. The oldest key owns the lock.

use std::mem::{replace, take};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{Context, Result, bail, ensure};
use common::REQUEST_TIMEOUT;
use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse,
};
use tokio::time::timeout;

use crate::session::Lease;

/// The place of a session in a queue, for one of its tasks at a time.
///
/// A request that puts our key may arrive when we have left, for instance because a member was
/// frozen. The key would then stay in the queue, and everybody would wait for it. So each such
/// request demands a certain version of the session's *mark*, a key that is in no queue. If we
/// leave while a request may still be on its way, we raise the mark's version, and etcd refuses the
/// request.
pub(crate) struct Place {
    pub(crate) lease: Arc<Lease>,
    queue: String, // the prefix of all keys in the queue
    pub(crate) key: String,
    mark: String,             // has no slash, so it can't be below the name of a lock
    pub(crate) revision: i64, // at which etcd created our key; 0 if we know of none
    seen: i64,                // the store's revision when we read the queue; a watch takes it
    in_flight: Option<i64>,   // the version that a request on its way may demand
}

impl Place {
    pub(crate) fn new(lease: &Arc<Lease>, name: &str) -> Place {
        let (lease, queue) = (Arc::clone(lease), format!("{name}/"));
        let key = format!("{queue}{:x}", lease.id); // the same as Go's
        let mark = format!("session!{:x}", lease.id);
        Place { lease, queue, key, mark, revision: 0, seen: 0, in_flight: None }
    }

    /// Returns whether the lock is ours. With `wait`, waits until it is.
    pub(crate) async fn acquire(&mut self, wait: bool) -> Result<bool> {
        self.leave().await?; // in case the task before us could not
        let mut older = self.join(wait).await?;
        let mut failed = false;
        while let (Some(key), true) = (&older, wait) {
            older = self.wait(key.clone(), &mut failed).await?;
        }
        Ok(older.is_none())
    }

    /// Joins the queue; without `wait`, only if it is empty. Returns the key before ours, or `None`
    /// if the lock is ours.
    async fn join(&mut self, wait: bool) -> Result<Option<Vec<u8>>> {
        while self.revision == 0 {
            let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
            let free = if wait { absent(&self.key) } else { absent(&self.queue).with_prefix() };
            let version = self.lease.mark.load(SeqCst);
            let [own, mark] = [&self.key, &self.mark].map(|key| TxnOp::get(&**key, None));
            // If the first attempt got no response, the second one finds the key and reads it.
            let join = Txn::new()
                .when([free, self.mark_has(version)])
                .and_then([self.put(&self.key), self.youngest(2)])
                .or_else([self.youngest(1), mark, own]);
            self.in_flight = Some(version);
            let (response, repeated) = self.lease.txn(join).await?;
            if !repeated {
                self.in_flight = None;
            }
            let mut responses = response.op_responses();
            if let Some((revision, older)) = self.find(&get(responses.pop())?) {
                self.revision = revision;
                if response.succeeded() {
                    self.seen = revision;
                    return Ok(older);
                }
            } else if self.read_mark(responses.pop())? == version {
                let other = get(responses.pop())?;
                return Ok(other.kvs().first().map(|kv| kv.key().to_vec()));
            } else {
                // Another task of the session has raised the mark, so etcd refuses this request.
                self.in_flight = None;
            }
        }
        self.look().await
    }

    /// Reads the queue. Returns the key before ours, or `None` if the lock is ours. Fails if our
    /// own key is gone.
    async fn look(&mut self) -> Result<Option<Vec<u8>>> {
        let (response, _) = self.lease.txn(Txn::new().and_then([self.youngest(2)])).await?;
        self.seen = response.header().map_or(0, |now| now.revision());
        let keys = get(response.op_responses().pop())?;
        let (_, older) = self.find(&keys).context("our key in the queue is gone")?;
        Ok(older)
    }

    /// Waits until the key before ours is deleted, or it is time to look again. Returns the key
    /// that is then before ours. `failed` remembers whether the last watch could not be opened.
    async fn wait(&mut self, older: Vec<u8>, failed: &mut bool) -> Result<Option<Vec<u8>>> {
        let lease = Arc::clone(&self.lease);
        // Each watch takes a stream of the connection. If etcd allows no more streams, even for
        // renewals, some waiters must do without a watch, but not all: so their limits differ.
        let limit = REQUEST_TIMEOUT.min(lease.ttl / 6) * (8 + lease.id as u32 % 8) / 8;
        let watch = async {
            // Watches from now on. Go and etcd's Lock RPC watch from a revision in the past, and
            // etcd serves such watches only every 100 ms.
            let mut watch = lease.client.watch_client().watch(&*older, None).await?;
            let first = watch.message().await?.context("the watch has ended")?;
            ensure!(!first.canceled(), "etcd has canceled the watch");
            // The same revision: nothing has happened between our look and the watch.
            let same = first.header().map(|now| now.revision()) == Some(take(&mut self.seen));
            let now = if same { Some(older.clone()) } else { self.look().await? };
            Ok((watch, now))
        };
        if let Ok(Ok((mut watch, now))) = timeout(limit, watch).await {
            *failed = false;
            if now.as_ref() != Some(&older) {
                return Ok(now);
            }
            tokio::select! {
                _ = watch.message() => {} // deleted, or the watch has ended, which proves nothing
                () = lease.time_to_look() => {} // the member that serves the watch may be frozen
            }
            drop(watch);
            return self.look().await;
        }
        let now = self.look().await?;
        if replace(failed, true) && now.as_ref() == Some(&older) {
            lease.time_to_look().await; // the second failure in a row: don't try at once again
        }
        Ok(now)
    }

    /// Leaves the queue, if we are in it. Returns whether the lock was ours. If etcd has no space
    /// for the mark, the next task at this place raises it.
    pub(crate) async fn leave(&mut self) -> Result<bool> {
        let known = self.revision;
        let bumped = self.bump_mark().await;
        if self.revision == 0 {
            return bumped.map(|()| false);
        }
        let ours = Compare::create_revision(&*self.key, CompareOp::Equal, self.revision);
        let delete = Txn::new().when([ours]).and_then([TxnOp::delete(&*self.key, None)]);
        let (response, repeated) = self.lease.txn(delete).await?;
        // If the session lives, an earlier attempt deleted the key, but its response was lost.
        let deleted = response.succeeded() || repeated && self.lease.is_alive();
        let same = self.revision == known;
        self.revision = 0;
        Ok(deleted && same)
    }

    /// Makes sure that no request of ours can still put the key: raises the version of the mark, so
    /// that etcd refuses every request that demands the old one. Notes the key that is there now.
    async fn bump_mark(&mut self) -> Result<()> {
        let Some(version) = self.in_flight else { return Ok(()) };
        let reads = [TxnOp::get(&*self.key, None), TxnOp::get(&*self.mark, None)];
        let [key, mark] = reads.clone();
        let txn = Txn::new()
            .when([self.mark_has(version)])
            .and_then([self.put(&self.mark), key, mark])
            .or_else(reads); // an earlier attempt or another task has raised it
        let (response, _) = self.lease.txn(txn).await?;
        let mut responses = response.op_responses();
        self.read_mark(responses.pop())?;
        let key = get(responses.pop())?;
        self.revision = key.kvs().first().map_or(0, |kv| kv.create_revision());
        self.in_flight = None;
        Ok(())
    }

    /// Reads the youngest keys of the queue, at most `limit`, without keys younger than ours.
    fn youngest(&self, limit: i64) -> TxnOp {
        let keys = GetOptions::new().with_prefix().with_keys_only().with_limit(limit);
        let youngest = keys.with_sort(SortTarget::Create, SortOrder::Descend);
        // Revision 0 means all keys.
        TxnOp::get(&*self.queue, Some(youngest.with_max_create_revision(self.revision)))
    }

    /// Finds our key in the youngest keys. Returns the revision at which etcd created our key, and
    /// the key before it.
    fn find(&self, keys: &GetResponse) -> Option<(i64, Option<Vec<u8>>)> {
        let mut keys = keys.kvs().iter();
        let ours = keys.find(|kv| kv.key() == self.key.as_bytes())?;
        Some((ours.create_revision(), keys.next().map(|kv| kv.key().to_vec())))
    }

    fn put(&self, key: &str) -> TxnOp {
        TxnOp::put(key, "", Some(PutOptions::new().with_lease(self.lease.id)))
    }

    fn mark_has(&self, version: i64) -> Compare {
        Compare::version(&*self.mark, CompareOp::Equal, version)
    }

    /// Reads the mark's version from a response, and remembers it for the next request.
    fn read_mark(&self, response: Option<TxnOpResponse>) -> Result<i64> {
        let version = get(response)?.kvs().first().map_or(0, |kv| kv.version());
        self.lease.mark.store(version, SeqCst);
        Ok(version)
    }
}

fn get(response: Option<TxnOpResponse>) -> Result<GetResponse> {
    match response {
        Some(TxnOpResponse::Get(found)) => Ok(found),
        _ => bail!("etcd's response lacks the keys that were read"),
    }
}
