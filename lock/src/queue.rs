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
/// A request that puts our key may arrive late, for instance from a member that was frozen. Then it
/// must not put a key that nobody knows of: everybody would wait for it. So each such request has the
/// condition that the session's mark, a key beside the queues, has a certain version. Who leaves
/// while a request may be on its way raises the version.
pub(crate) struct Place {
    pub(crate) lease: Arc<Lease>,
    queue: String, // what the keys in the queue begin with
    pub(crate) key: String,
    mark: String,             // without a slash, so that it is in no queue
    pub(crate) revision: i64, // the one in which etcd created our key; 0: none that we know of
    looked: i64,              // the one at which we have looked, until the next watch
    sent: Option<i64>,        // the version that is demanded by a request that may be on its way
}

impl Place {
    pub(crate) fn new(lease: &Arc<Lease>, name: &str) -> Place {
        let (lease, queue) = (Arc::clone(lease), format!("{name}/"));
        let key = format!("{queue}{:x}", lease.id); // as Go's
        let mark = format!("session!{:x}", lease.id);
        Place { lease, queue, key, mark, revision: 0, looked: 0, sent: None }
    }

    /// Returns whether the lock is ours. With `wait`, waits until it is.
    pub(crate) async fn acquire(&mut self, wait: bool) -> Result<bool> {
        self.leave().await?; // if the task before us could not
        let mut older = self.look(wait).await?;
        let mut failed = false;
        while let (Some(key), true) = (&older, wait) {
            older = self.wait(key.clone(), &mut failed).await?;
        }
        Ok(older.is_none())
    }

    /// Joins the queue, if we are not in it; without `wait` only if nobody is. Returns the key before
    /// ours; `None` means that the lock is ours. Fails if our own key is gone.
    async fn look(&mut self, wait: bool) -> Result<Option<Vec<u8>>> {
        // Reads the youngest keys of the queue, without those younger than ours.
        let queue = |limit, revision| {
            let keys = GetOptions::new().with_prefix().with_keys_only().with_limit(limit);
            let youngest = keys.with_sort(SortTarget::Create, SortOrder::Descend);
            TxnOp::get(&*self.queue, Some(youngest.with_max_create_revision(revision)))
        };
        while self.revision == 0 {
            let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
            let free = if wait { absent(&self.key) } else { absent(&self.queue).with_prefix() };
            let version = self.lease.mark.load(SeqCst);
            let [own, mark] = [&self.key, &self.mark].map(|key| TxnOp::get(&**key, None));
            // If the first attempt got no response, the second one finds its key.
            let join = Txn::new()
                .when([free, self.mark_has(version)])
                .and_then([self.put(&self.key), queue(2, 0)])
                .or_else([queue(1, 0), mark, own]);
            self.sent = Some(version);
            let (response, repeated) = self.lease.txn(join).await?;
            if !repeated {
                self.sent = None;
            }
            let mut responses = response.op_responses();
            if let Some((revision, older)) = self.find(&get(responses.pop())?) {
                self.revision = revision;
                if response.succeeded() {
                    self.looked = revision;
                    return Ok(older);
                }
            } else if self.read_mark(responses.pop())? == version {
                let other = get(responses.pop())?;
                return Ok(other.kvs().first().map(|kv| kv.key().to_vec()));
            } else {
                // Another task of the session has raised the mark, and etcd refused to put our key.
                self.sent = None;
            }
        }
        let look = Txn::new().and_then([queue(2, self.revision)]);
        let (response, _) = self.lease.txn(look).await?;
        self.looked = response.header().map_or(0, |now| now.revision());
        let keys = get(response.op_responses().pop())?;
        let (_, older) = self.find(&keys).context("our key in the queue is gone")?;
        Ok(older)
    }

    /// Waits until the key before ours is deleted, or it is time to look anew. Returns the key that
    /// is before ours then. `failed` says whether the last watch could not be opened.
    async fn wait(&mut self, older: Vec<u8>, failed: &mut bool) -> Result<Option<Vec<u8>>> {
        let lease = Arc::clone(&self.lease);
        // Each watch takes a stream of the connection. If etcd allows no more of them, even for
        // renewals, some waiters must do without: not all of them, so they have different limits.
        let limit = REQUEST_TIMEOUT.min(lease.ttl / 6) * (8 + lease.id as u32 % 8) / 8;
        let watch = async {
            // Watches from now on. Go and etcd's Lock RPC watch from a revision in the past, and etcd
            // serves such watches every 100 ms only.
            let mut watch = lease.client.watch_client().watch(&*older, None).await?;
            let first = watch.message().await?.context("the watch has ended")?;
            ensure!(!first.canceled(), "etcd has canceled the watch");
            // Without a change since we looked, nothing happened before the watch.
            let same = first.header().map(|now| now.revision()) == Some(take(&mut self.looked));
            let now = if same { Some(older.clone()) } else { self.look(true).await? };
            Ok((watch, now))
        };
        if let Ok(Ok((mut watch, now))) = timeout(limit, watch).await {
            *failed = false;
            if now.as_ref() != Some(&older) {
                return Ok(now);
            }
            tokio::select! {
                _ = watch.message() => {} // deleted; or the watch has ended, which proves nothing
                () = lease.time_to_look() => {} // its member may be frozen
            }
            drop(watch);
            return self.look(true).await;
        }
        let now = self.look(true).await?;
        if replace(failed, true) && now.as_ref() == Some(&older) {
            lease.time_to_look().await; // the failure has not passed at once
        }
        Ok(now)
    }

    /// Leaves the queue, if we are in it. Returns whether the lock was ours. If etcd has no space
    /// for the mark, the next task at this place raises it.
    pub(crate) async fn leave(&mut self) -> Result<bool> {
        let known = self.revision;
        let raised = self.bump_mark().await;
        if self.revision == 0 {
            return raised.map(|()| false);
        }
        let ours = Compare::create_revision(&*self.key, CompareOp::Equal, self.revision);
        let delete = Txn::new().when([ours]).and_then([TxnOp::delete(&*self.key, None)]);
        let (response, repeated) = self.lease.txn(delete).await?;
        // If the session lives, an earlier attempt has deleted the key, and got no response.
        let deleted = response.succeeded() || repeated && self.lease.is_alive();
        let same = self.revision == known;
        self.revision = 0;
        Ok(deleted && same)
    }

    /// Makes sure that no request of ours is still on its way: raises the version of the mark, so
    /// that etcd refuses what demands the old one. Then the key that etcd has is the last.
    async fn bump_mark(&mut self) -> Result<()> {
        let Some(version) = self.sent else { return Ok(()) };
        let reads = [TxnOp::get(&*self.key, None), TxnOp::get(&*self.mark, None)];
        let [key, mark] = reads.clone();
        let txn = Txn::new()
            .when([self.mark_has(version)])
            .and_then([self.put(&self.mark), key, mark])
            .or_else(reads); // it was raised
        let (response, _) = self.lease.txn(txn).await?;
        let mut responses = response.op_responses();
        self.read_mark(responses.pop())?;
        let key = get(responses.pop())?;
        self.revision = key.kvs().first().map_or(0, |kv| kv.create_revision());
        self.sent = None;
        Ok(())
    }

    /// Finds our key among the youngest first. Returns the revision in which etcd created it, and the
    /// key before it.
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

    /// Reads the version of the mark from a response, and remembers it for the next request.
    fn read_mark(&self, response: Option<TxnOpResponse>) -> Result<i64> {
        let version = get(response)?.kvs().first().map_or(0, |kv| kv.version());
        self.lease.mark.store(version, SeqCst);
        Ok(version)
    }
}

fn get(response: Option<TxnOpResponse>) -> Result<GetResponse> {
    match response {
        Some(TxnOpResponse::Get(found)) => Ok(found),
        _ => bail!("etcd's response lacks what was read"),
    }
}
