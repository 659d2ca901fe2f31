//! A session: the lease that stands for one contender, and its renewal.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Error, Txn, TxnOp, TxnResponse};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// One contender for locks: a lease, renewed in the background.
///
/// Its locks are free when the lease ends: milliseconds after [`close`](Session::close), or, if
/// the program was killed, frozen or cut off, when no renewal has come for the TTL and at most
/// half a second. (A new leader of etcd starts the TTL anew.) Dropping a session stops renewing.
pub struct Session {
    pub(crate) lease: Arc<Lease>,
}

/// What a session shares with its mutexes and their guards.
pub(crate) struct Lease {
    pub(crate) client: Client,
    pub(crate) id: i64,
    pub(crate) ttl: Duration,
    deadline: watch::Sender<Instant>,
    keys: Mutex<HashSet<String>>,
}

impl Session {
    /// Opens a session that survives `ttl` without a renewal; etcd counts in whole seconds and
    /// grants no less than 1.5 of its election timeouts. Fails if it refuses, or does not answer
    /// within [`REQUEST_TIMEOUT`].
    pub async fn open(client: &Client, ttl: Duration) -> Result<Session> {
        let asked = Instant::now();
        let mut leases = client.lease_client();
        let grant = leases.grant(ttl.as_secs_f64().ceil() as i64, None);
        let grant = within(REQUEST_TIMEOUT, grant).await.context("cannot open a session")?;
        let ttl = Duration::from_secs(grant.ttl().unsigned_abs());
        let (deadline, keys) = (watch::Sender::new(asked + ttl), Mutex::default());
        let lease = Arc::new(Lease { client: client.clone(), id: grant.id(), ttl, deadline, keys });
        tokio::spawn(renew(lease.clone(), asked + ttl / 3));
        Ok(Session { lease })
    }

    /// The id of the lease, which in hexadecimal begins the names of the lock's keys.
    pub fn lease(&self) -> i64 {
        self.lease.id
    }

    /// The TTL that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl
    }

    /// Whether etcd must still have the lease, by the local clock, which stops while a laptop
    /// sleeps. Only a hint: it may be over before the answer is used.
    pub fn is_alive(&self) -> bool {
        self.lease.is_alive()
    }

    /// Resolves when the lease is gone, or must be presumed gone because no renewal was answered
    /// for a TTL. A lost session stays lost.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Ends the session and revokes its lease, which passes its locks on. Fails if the lease was
    /// gone before, or etcd does not answer for a TTL; by then it has run out.
    pub async fn close(self) -> Result<()> {
        let lease = self.lease.clone();
        drop(self); // those who wait in this session need not wait for etcd's answer
        let revoked = within(lease.ttl, lease.client.lease_client().revoke(lease.id)).await;
        revoked.map(drop).context("cannot revoke the session's lease")
    }

    /// Ends the session but not its lease, whose id it returns: the locks stay locked until the
    /// lease runs out, or for as long as somebody else renews it.
    pub fn orphan(self) -> i64 {
        self.lease.id
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.lease.deadline.send_replace(Instant::now());
    }
}

impl Lease {
    pub(crate) fn is_alive(&self) -> bool {
        Instant::now() < *self.deadline.borrow()
    }

    pub(crate) async fn lost(&self) {
        let mut deadline = self.deadline.subscribe();
        while self.is_alive() {
            let time = *deadline.borrow_and_update();
            let _ = timeout_at(time, deadline.changed()).await; // whichever comes first
        }
    }

    /// The keys of the session that are, or may be, in a queue.
    pub(crate) fn keys(&self) -> MutexGuard<'_, HashSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Etcd has deleted this key. One that a late request may put again, with nobody behind it,
    /// is deleted again and again, and its name not used any more.
    pub(crate) fn forget(self: &Arc<Lease>, key: &str, may_return: bool) {
        if !may_return {
            self.keys().remove(key);
            return;
        }
        let (lease, delete) = (self.clone(), Txn::new().and_then([TxnOp::delete(key, None)]));
        tokio::spawn(async move {
            while timeout(lease.ttl / 3, lease.lost()).await.is_err() {
                let _ = lease.txn(delete.clone()).await; // tried again, whatever came of it
            }
        });
    }

    /// Carries out a transaction, or has etcd refuse it, for as long as the session lives. True:
    /// it was sent more than once, and may have been carried out more than once.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<(TxnResponse, bool)> {
        let (mut kv, mut repeated) = (self.client.kv_client(), false);
        loop {
            let mut refused = false;
            let attempt = async {
                kv.txn(txn.clone()).await.inspect_err(|error| refused = is_refusal(error))
            };
            match within(REQUEST_TIMEOUT, attempt).await {
                // Of several members the client asks one at random. It may be down or frozen.
                Err(_) if !refused && self.is_alive() => sleep(Duration::from_millis(50)).await,
                answer => return Ok((answer?, repeated)),
            }
            repeated = true;
        }
    }
}

/// Whether etcd would say no again: InvalidArgument, NotFound (the lease), PermissionDenied or
/// Unauthenticated, in gRPC's numbers.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if [3, 5, 7, 16].contains(&(status.code() as i32)))
}

/// Renews the lease every third of its TTL until the session is lost. Go's client does so unseen.
/// An attempt gets a fifteenth, and there is time for ten: one of several members may be frozen.
async fn renew(lease: Arc<Lease>, mut next: Instant) {
    let mut client = lease.client.clone();
    let mut stream = None;
    while timeout_at(next, lease.lost()).await.is_err() {
        // etcd restarts the TTL when it gets this, which is later than now.
        let sent = Instant::now();
        next = sent + lease.ttl / 15;
        let attempt = async {
            let (mut keeper, mut answers) = match stream.take() {
                Some(stream) => stream,
                None => client.lease_keep_alive(lease.id).await?,
            };
            let _ = keeper.keep_alive().await; // if this failed, so does the next line
            let answer = answers.message().await?;
            Ok(answer.filter(|answer| answer.ttl() > 0).map(|_| (keeper, answers)))
        };
        match timeout(lease.ttl / 15, attempt).await {
            Ok(Ok(Some(answered))) => {
                stream = Some(answered);
                next = sent + lease.ttl / 3;
                lease.deadline.send_modify(|deadline| {
                    // Too late is too late, even if etcd has not noticed.
                    if Instant::now() < *deadline {
                        *deadline = sent + lease.ttl;
                    }
                });
            }
            // etcd does not have this lease (any more).
            Ok(Err(Error::LeaseKeepAliveError(_))) => {
                lease.deadline.send_replace(sent);
            }
            _ => {} // the next attempt opens a new stream
        }
    }
}
