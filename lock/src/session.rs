//! A session: the lease that stands for one contender, and its renewal.

use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, is_refusal, within};
use etcd_client::{Client, Error, Txn, TxnResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// One contender for locks: a lease, renewed in the background.
///
/// Its locks are free when the lease ends: milliseconds after [`close`](Session::close), or, if
/// the program was killed, frozen or cut off, when no renewal has come for the TTL and at most
/// half a second. (A new leader of etcd starts the TTL anew.) Dropping all clones ends renewing.
#[derive(Clone)]
pub struct Session {
    pub(crate) client: Arc<Client>,
    pub(crate) lease: i64,
    pub(crate) ttl: Duration,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) deadline: watch::Receiver<Instant>,
    pub(crate) renewal: Option<Arc<JoinSet<()>>>, // mutexes and guards do not keep it going
}

impl Session {
    /// Opens a session that survives `ttl` without a renewal; etcd counts in whole seconds and
    /// grants no less than 1.5 of its election timeouts. Fails if it refuses, or has not answered
    /// after `ttl` or [`CONNECT_TIMEOUT`], whichever is less.
    pub async fn open(client: &Client, ttl: Duration) -> Result<Session> {
        let limit = Instant::now() + ttl.min(CONNECT_TIMEOUT);
        let (asked, grant) = loop {
            let (asked, mut leases) = (Instant::now(), client.lease_client());
            let grant = leases.grant(ttl.as_secs_f64().ceil() as i64, None);
            match attempt(grant).await.context("cannot open a session")? {
                Ok(grant) => break (asked, grant),
                Err(error) if asked > limit => return Err(error).context("cannot open a session"),
                Err(_) => {} // granted or not, nobody needs the lease
            }
        };
        let (lease, ttl) = (grant.id(), Duration::from_secs(grant.ttl().unsigned_abs()));
        let (tell, deadline) = watch::channel(asked + ttl);
        let (client, numbers) = (Arc::new(client.clone()), Arc::default());
        let session = Session { client, lease, ttl, numbers, deadline, renewal: None };
        let renewal = JoinSet::from_iter([renew(session.clone(), tell)]);
        Ok(Session { renewal: Some(Arc::new(renewal)), ..session })
    }

    /// The id of the lease, which in hexadecimal begins the names of the lock's keys.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// The TTL that etcd granted.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether etcd must still have the lease, by the local clock, which stops while a laptop
    /// sleeps. Only a hint: it may be over before the answer is used.
    pub fn is_alive(&self) -> bool {
        self.deadline.has_changed().is_ok() && Instant::now() < *self.deadline.borrow()
    }

    /// Resolves when the lease is gone, or must be presumed gone because no renewal was answered
    /// for a TTL. A lost session stays lost.
    pub async fn lost(&self) {
        let _ = self.deadline.clone().wait_for(|_| false).await; // until the renewal ends
    }

    /// Ends the session and revokes its lease, which passes its locks on. Fails if the lease was
    /// gone before, or etcd cannot be reached, or does not answer for a TTL: it runs out by itself.
    pub async fn close(self) -> Result<()> {
        drop(self.renewal); // those who wait in this session need not wait for etcd's answer
        let revoked = within(self.ttl, self.client.lease_client().revoke(self.lease)).await;
        revoked.map(drop).context("cannot revoke the session's lease")
    }

    /// Ends the session but not its lease, whose id it returns: the locks stay locked until the
    /// lease runs out, or for as long as somebody else renews it.
    pub fn orphan(self) -> i64 {
        self.lease
    }

    /// Carries out a transaction, or has etcd refuse it, for as long as the session lives. True:
    /// it was sent more than once, and may be carried out as often, even later.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<(TxnResponse, bool)> {
        let (mut kv, mut repeated) = (self.client.kv_client(), false);
        loop {
            match attempt(kv.txn(txn.clone())).await? {
                Ok(answer) => return Ok((answer, repeated)),
                Err(error) if !self.is_alive() => return Err(error),
                Err(_) => repeated = true,
            }
        }
    }
}

/// Sends a request. The outer error is final; after the inner one it can be sent again.
async fn attempt<T>(request: impl Future<Output = Result<T, Error>>) -> Result<Result<T>> {
    match within(REQUEST_TIMEOUT, request).await {
        Err(error) if !is_refusal(&error) => {
            // A member may be down or frozen, or the cluster be electing a leader.
            sleep(Duration::from_millis(50)).await;
            Ok(Err(error))
        }
        response => response.map(Ok),
    }
}

/// Renews the lease every third of its TTL until it is lost. Go's client does so unseen.
async fn renew(session: Session, deadline: watch::Sender<Instant>) {
    let mut client = session.client.lease_client();
    let mut next = *deadline.borrow() - session.ttl * 2 / 3;
    while session.is_alive() {
        sleep_until(next).await;
        // etcd restarts the TTL when it gets this, which is later than now.
        let sent = Instant::now();
        // There is time for ten attempts: a member may be frozen, or a leader be missing.
        next = (sent + session.ttl / 15).min(*deadline.borrow());
        // On a stream of its own each time, so that none has to be mended.
        match timeout_at(next, client.keep_alive(session.lease)).await {
            Ok(Err(Error::LeaseKeepAliveError(_))) => return, // etcd does not have this lease
            // Too late is too late, even if etcd has not noticed.
            Ok(Ok(_)) if session.is_alive() => {
                deadline.send_replace(sent + session.ttl);
                next = sent + session.ttl / 3;
            }
            _ => {}
        }
    }
}
