//! A session: the lease of one contender, and its renewals.

use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, is_refusal, within};
use etcd_client::{Client, Error, Txn, TxnResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// One contender for locks: a lease, and a task that renews it in the background.
///
/// The locks of a session are free when its lease ends:
///
/// - milliseconds after [`close`](Session::close);
/// - if the program was killed, frozen or cut off: the TTL after the last renewal, and half a
///   second more at most. (A new leader of etcd starts the TTL again.)
///
/// The renewals end when the last clone of the session is dropped.
#[derive(Clone)]
pub struct Session {
    pub(crate) client: Arc<Client>,
    pub(crate) lease: i64,
    pub(crate) ttl: Duration,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) deadline: watch::Receiver<Instant>,
    pub(crate) renewal: Option<Arc<JoinSet<()>>>, // `None` in a mutex and in a guard
}

impl Session {
    /// Opens a session with this TTL. etcd counts in whole seconds, so `ttl` is rounded up. The
    /// shortest TTL that etcd grants is 1.5 election timeouts, by default 2 s.
    ///
    /// # Errors
    ///
    /// etcd refuses, or does not respond within `ttl` or [`CONNECT_TIMEOUT`], whichever is shorter.
    /// The last attempt takes up to twice [`REQUEST_TIMEOUT`] more.
    pub async fn open(client: &Client, ttl: Duration) -> Result<Session> {
        let limit = Instant::now() + ttl.min(CONNECT_TIMEOUT);
        let (asked, grant) = loop {
            let (asked, mut leases) = (Instant::now(), client.lease_client());
            let grant = leases.grant(ttl.as_secs_f64().ceil() as i64, None);
            match attempt(grant).await.context("cannot open a session")? {
                Ok(grant) => break (asked, grant),
                Err(error) if asked > limit => return Err(error).context("cannot open a session"),
                Err(_) => {} // if etcd granted a lease, it is not used and runs out
            }
        };
        let (lease, ttl) = (grant.id(), Duration::from_secs(grant.ttl().unsigned_abs()));
        let (tell, deadline) = watch::channel(asked + ttl);
        let (client, numbers) = (Arc::new(client.clone()), Arc::default());
        let session = Session { client, lease, ttl, numbers, deadline, renewal: None };
        let renewal = JoinSet::from_iter([renew(session.clone(), tell)]);
        Ok(Session { renewal: Some(Arc::new(renewal)), ..session })
    }

    /// Returns the id of the lease. In hexadecimal it is a part of the session's keys in the queue.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// Returns the TTL that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns whether the lease still lives, by the local clock. This is only a hint: the lease
    /// can end just after this call, and the local clock stands still while a laptop sleeps.
    pub fn is_alive(&self) -> bool {
        self.deadline.has_changed().is_ok() && Instant::now() < *self.deadline.borrow()
    }

    /// Waits until the session is lost: etcd says that the lease is gone, or no renewal was
    /// confirmed in time for a TTL. A lost session stays lost.
    pub async fn lost(&self) {
        let _ = self.deadline.clone().wait_for(|_| false).await; // until the renewal ends
    }

    /// Ends the session and revokes its lease, so that its locks are free at once.
    ///
    /// # Errors
    ///
    /// The lease was gone before, etcd cannot be reached, or it does not respond within the TTL. If
    /// etcd still has the lease, the lease runs out.
    pub async fn close(self) -> Result<()> {
        drop(self.renewal); // waiters in this session get their error now, before etcd responds
        let revoked = within(self.ttl, self.client.lease_client().revoke(self.lease)).await;
        revoked.map(drop).context("cannot revoke the session's lease")
    }

    /// Ends the session, but not its lease. Returns the id of the lease. The locks stay locked
    /// until the lease runs out. The caller may renew it. Another clone of the session renews it
    /// anyway.
    pub fn orphan(self) -> i64 {
        self.lease
    }

    /// Sends a transaction, and retries until etcd responds or the session is lost. Returns the
    /// response, and whether the transaction was sent more than once. If it was, etcd may carry it
    /// out more than once, also later. Fails if etcd refuses it.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<(TxnResponse, bool)> {
        let (mut kv, mut repeated) = (self.client.kv_client(), false);
        loop {
            match attempt(kv.txn(txn.clone())).await? {
                Ok(response) => return Ok((response, repeated)),
                Err(error) if !self.is_alive() => return Err(error),
                Err(_) => repeated = true,
            }
        }
    }
}

/// Sends a request. Returns an outer error if etcd refuses: a retry does not help. Returns an inner
/// error after a pause, if a retry can help.
async fn attempt<T>(request: impl Future<Output = Result<T, Error>>) -> Result<Result<T>> {
    match within(REQUEST_TIMEOUT, request).await {
        Err(error) if !is_refusal(&error) => {
            // A member may be down or frozen, or the cluster elects a leader.
            sleep(Duration::from_millis(50)).await;
            Ok(Err(error))
        }
        response => response.map(Ok),
    }
}

/// Renews the lease every third of its TTL, until it is lost. Go's client does this silently.
async fn renew(session: Session, deadline: watch::Sender<Instant>) {
    let mut client = session.client.lease_client();
    let mut next = *deadline.borrow() - session.ttl * 2 / 3;
    while session.is_alive() {
        sleep_until(next).await;
        // etcd starts the TTL again when the renewal arrives, which is later than now.
        let sent = Instant::now();
        // Leaves time for ten attempts: a member may be frozen, or the cluster has no leader.
        next = (sent + session.ttl / 15).min(*deadline.borrow());
        // Each renewal has a stream of its own, so no stream has to be repaired.
        match timeout_at(next, client.keep_alive(session.lease)).await {
            Ok(Err(Error::LeaseKeepAliveError(_))) => return, // etcd does not have this lease
            // A response after the deadline does not count, even if etcd still has the lease.
            Ok(Ok(_)) if session.is_alive() => {
                deadline.send_replace(sent + session.ttl);
                next = sent + session.ttl / 3;
            }
            _ => {}
        }
    }
}
