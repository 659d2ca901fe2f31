//! Helpers for the tests of the lock.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    WatchOptions,
};
use etcd_server::{Proxy, Server};
use lock::{Guard, Mutex};
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub const NAME: &str = "/my-lock/";

/// The TTL of sessions that must not be lost: no test takes that long.
pub const LONG: Duration = Duration::from_secs(60);

/// The TTL of sessions that a test wants to lose: the shortest that etcd grants.
pub const SHORT: Duration = Duration::from_secs(2);

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn connect(etcd: &Server) -> Result<Client> {
    testing::prepare();
    Ok(Client::connect([etcd.address().to_string()], None).await?)
}

pub async fn connect_by(proxy: &Proxy) -> Result<Client> {
    testing::prepare();
    Ok(Client::connect([proxy.address().to_string()], None).await?)
}

/// Starts a task that waits for the lock.
pub fn waiter(mutex: &Mutex) -> JoinHandle<Result<Guard>> {
    let mutex = mutex.clone();
    tokio::spawn(async move { mutex.lock().await })
}

/// Returns whether etcd carries out a transaction on the condition that the lock is ours.
pub async fn owns(client: &mut Client, guard: &Guard) -> Result<bool> {
    let put = TxnOp::put("guarded", "", None);
    Ok(client.txn(Txn::new().when([guard.is_owner()]).and_then([put])).await?.succeeded())
}

/// Returns the keys in the queue, oldest first.
pub async fn queue(client: &mut Client) -> Result<Vec<String>> {
    let oldest_first = GetOptions::new().with_sort(SortTarget::Create, SortOrder::Ascend);
    let found = client.get(format!("{NAME}/"), Some(oldest_first.with_prefix())).await?;
    Ok(found.kvs().iter().map(|kv| kv.key_str().unwrap().to_owned()).collect())
}

pub async fn queue_of(client: &mut Client, length: usize) -> Result<()> {
    until(async || Ok(queue(client).await?.len() == length)).await
}

/// Returns the number in this variable, if there is one: the seed with which to begin.
pub fn seed(variable: &str) -> Result<Option<u64>> {
    match env::var(variable) {
        Ok(seed) => Ok(Some(seed.parse().with_context(|| format!("{variable} isn't a number"))?)),
        Err(_) => Ok(None),
    }
}

pub async fn until(mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    loop {
        // Sleep before the first check, too, so that a task that was just spawned can run.
        sleep(Duration::from_millis(5)).await;
        if condition().await? {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "nothing happened within {PATIENCE:?}");
    }
}

pub async fn revision(client: &mut Client) -> Result<i64> {
    Ok(client.get("nothing", None).await?.header().unwrap().revision())
}

/// Returns the keys of the queue that were changed after revision `begin`.
pub async fn keys_since(client: &mut Client, begin: i64) -> Result<Vec<String>> {
    let end = revision(client).await?;
    let past = WatchOptions::new().with_prefix().with_start_revision(begin + 1);
    let mut history = client.watch(NAME, Some(past)).await?;
    let (mut keys, mut seen) = (BTreeSet::new(), begin);
    while seen < end {
        for event in history.message().await?.unwrap().events() {
            let kv = event.kv().unwrap();
            keys.insert(kv.key_str()?.to_owned());
            seen = kv.mod_revision();
        }
    }
    Ok(keys.into_iter().collect())
}

/// Returns how many transactions etcd has received.
pub fn received(etcd: &Server) -> Result<i64> {
    etcd_server::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_msg_received_total{") && line.contains("\"Txn\"")
    })
}

/// Returns how many transactions etcd has finished.
pub fn carried_out(etcd: &Server) -> Result<i64> {
    etcd_server::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_handled_total{") && line.contains("\"Txn\"")
    })
}

/// Returns how often etcd has written to its database.
pub fn written_to_disk(etcd: &Server) -> Result<i64> {
    let commits = "etcd_disk_backend_commit_duration_seconds_count";
    etcd_server::metric(etcd.address(), |line| line.starts_with(commits))
}

pub fn sent_to_watchers(etcd: &Server) -> Result<i64> {
    etcd_server::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_msg_sent_total{") && line.contains("\"Watch\"")
    })
}

pub fn watchers(etcd: &Server) -> Result<i64> {
    watchers_at(etcd.address())
}

pub fn watchers_at(etcd: SocketAddr) -> Result<i64> {
    etcd_server::metric(etcd, |line| line.starts_with("etcd_debugging_mvcc_watcher_total "))
}

/// The requests of Go's `concurrency.Mutex`, which `etcdctl lock` uses, too. Its key is the name, a
/// slash, and the lease in hexadecimal.
pub struct Go(i64);

impl Go {
    pub async fn join(client: &mut Client) -> Result<Go> {
        let lease = client.lease_grant(60, None).await?.id();
        Go(lease).again(client).await
    }

    pub async fn again(self, client: &mut Client) -> Result<Go> {
        let absent = Compare::create_revision(self.key(), CompareOp::Equal, 0);
        let put = TxnOp::put(self.key(), "", Some(PutOptions::new().with_lease(self.0)));
        ensure!(client.txn(Txn::new().when([absent]).and_then([put])).await?.succeeded());
        Ok(self)
    }

    pub async fn is_owner(&self, client: &mut Client) -> Result<bool> {
        Ok(queue(client).await?.first() == Some(&self.key()))
    }

    pub async fn unlock(&self, client: &mut Client) -> Result<()> {
        client.delete(self.key(), None).await?;
        Ok(())
    }

    pub fn key(&self) -> String {
        format!("{NAME}/{:x}", self.0)
    }
}
