use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, within};
use etcd_client::{
    Client, DeleteOptions, EventType, GetOptions, KeyValue, PutOptions, WatchOptions,
};
use etcd_server::Server;

use crate::machine::{restarts_etcd, watch_etcd};
use crate::scene::{blocking, connect_to};
use crate::verdict::broken;

/// A client that belongs to the experiment. Its errors end the experiment without a verdict,
/// because they aren't the fault of an answer.
pub struct Etcd(pub Client);

/// A change in etcd's history.
pub struct Change {
    pub revision: i64,
    pub key: String,
    /// The value that was put, or `None` if the key was deleted.
    pub value: Option<String>,
    /// The lease that the key was put on, or 0.
    pub lease: i64,
    /// The value before the change.
    pub before: Option<String>,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "put {} {value}", self.key),
            None => write!(f, "delete {}", self.key),
        }
    }
}

impl Etcd {
    /// Returns a client of this server. From now on, the server's slowness is a reason for no
    /// verdict.
    pub async fn of(server: &Server) -> Result<Etcd> {
        watch_etcd(server.address());
        Ok(Etcd(connect_to(server.address()).await?))
    }

    /// Restarts the server, and connects to it again. The first request of the old client could use
    /// the lost connection.
    pub async fn restart(&mut self, mut server: Server) -> Result<Server> {
        // etcd accepts connections long before it responds.
        restarts_etcd(true);
        let server = blocking(move || server.restart().map(|()| server)).await?;
        restarts_etcd(false);
        *self = Etcd::of(&server).await?;
        Ok(server)
    }

    /// Puts a key. Returns the revision.
    pub async fn put(&mut self, key: &str, value: &str) -> Result<i64> {
        let put = within(REQUEST_TIMEOUT, self.0.put(key, value, None)).await;
        Ok(put.context("put failed")?.header().context("no header")?.revision())
    }

    /// Puts a key on a new lease that nobody renews. Returns the lease.
    pub async fn put_on_lease(&mut self, key: &str, value: &str, ttl: i64) -> Result<i64> {
        let grant = within(REQUEST_TIMEOUT, self.0.lease_grant(ttl, None)).await;
        let lease = grant.context("grant failed")?.id();
        let on_lease = PutOptions::new().with_lease(lease);
        let put = within(REQUEST_TIMEOUT, self.0.put(key, value, Some(on_lease))).await;
        put.context("put failed")?;
        Ok(lease)
    }

    /// Returns the TTL that a lease was granted with, or `None` if etcd no longer has the lease.
    pub async fn granted_ttl(&mut self, lease: i64) -> Result<Option<i64>> {
        let found = within(REQUEST_TIMEOUT, self.0.lease_time_to_live(lease, None)).await;
        let granted = found.context("no TTL")?.granted_ttl();
        Ok((granted > 0).then_some(granted))
    }

    /// Ends a lease, with the same effect as when it runs out.
    pub async fn revoke(&mut self, lease: i64) -> Result<()> {
        within(REQUEST_TIMEOUT, self.0.lease_revoke(lease)).await.context("revoke failed")?;
        Ok(())
    }

    pub async fn get(&mut self, key: &str) -> Result<Option<KeyValue>> {
        let get = within(REQUEST_TIMEOUT, self.0.get(key, None)).await;
        Ok(get.context("get failed")?.kvs().first().cloned())
    }

    pub async fn get_all(&mut self, prefix: &str) -> Result<Vec<KeyValue>> {
        let all = GetOptions::new().with_prefix();
        let get = within(REQUEST_TIMEOUT, self.0.get(prefix, Some(all))).await;
        Ok(get.context("get failed")?.kvs().to_vec())
    }

    /// Deletes a key. Returns the revision, or `None` if there was no such key.
    pub async fn delete(&mut self, key: &str) -> Result<Option<i64>> {
        let delete = within(REQUEST_TIMEOUT, self.0.delete(key, None)).await;
        let response = delete.context("delete failed")?;
        let revision = response.header().context("no header")?.revision();
        Ok((response.deleted() > 0).then_some(revision))
    }

    pub async fn delete_all(&mut self, prefix: &str) -> Result<()> {
        let all = DeleteOptions::new().with_prefix();
        within(REQUEST_TIMEOUT, self.0.delete(prefix, Some(all))).await.context("delete failed")?;
        Ok(())
    }

    /// Returns *broken* if a lease was granted with another TTL. `who` is on the lease.
    pub async fn check_ttl(&mut self, who: &str, lease: i64, ttl: i64) -> Result<()> {
        match self.granted_ttl(lease).await? {
            Some(granted) if granted != ttl => broken(
                format!("{who} is on a lease of {granted} s, but it should be {ttl} s"),
                "the TTL that your code asks for",
            ),
            _ => Ok(()),
        }
    }

    /// Compacts the history, so that it begins with the newest revision.
    pub async fn compact(&mut self) -> Result<()> {
        // The header has the newest revision, even if there is no such key.
        let get = within(REQUEST_TIMEOUT, self.0.get("any", None)).await.context("get failed")?;
        let newest = get.header().context("no header")?.revision();
        let compact = within(REQUEST_TIMEOUT, self.0.compact(newest, None)).await;
        compact.context("compact failed")?;
        Ok(())
    }

    /// Returns all changes of keys with this prefix, from a revision until now. Puts the key
    /// `PREFIX/end` to find the end, and leaves that key there.
    pub async fn history(&mut self, prefix: &str, from: i64) -> Result<Vec<Change>> {
        let end = self.put(&format!("{prefix}/end"), "").await?;
        let past = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(from);
        let watch = within(REQUEST_TIMEOUT, self.0.watch(prefix, Some(past))).await;
        let (mut watch, mut changes) = (watch.context("watch failed")?, Vec::new());
        loop {
            let response =
                within(CONNECT_TIMEOUT, watch.message()).await.context("watch failed")?;
            let response = response.context("the watch has ended")?;
            ensure!(!response.canceled(), "the watch was cancelled");
            for event in response.events() {
                let kv = event.kv().context("no key")?;
                let (revision, is_put) = (kv.mod_revision(), event.event_type() == EventType::Put);
                if revision == end {
                    return Ok(changes);
                }
                let text = |kv: &KeyValue| kv.value_str().map(str::to_owned);
                changes.push(Change {
                    revision,
                    key: kv.key_str()?.to_owned(),
                    lease: kv.lease(),
                    value: is_put.then(|| text(kv)).transpose()?,
                    before: event.prev_kv().map(text).transpose()?,
                });
            }
        }
    }
}
