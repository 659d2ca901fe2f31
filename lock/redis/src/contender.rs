//! A contender that locks and unlocks, in each of the ways that the lab compares.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::connect_to;
use etcd_server::{Server, metric};
use lock::{Guard, Mutex, Session};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo};
use rslock::LockManager;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::client::{Client, NIL, unlock};
use crate::redlock::{addresses, manager};
use crate::scale;
use crate::server::Redis;

const TTL: Duration = Duration::from_secs(30);

/// How a contender gets the lock.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Asks redis again after 10 ms.
    Often,
    /// Asks redis again after a random time of up to 200 ms, the default of Redlock libraries.
    AtRandom,
    /// Like `AtRandom`, and then waits until the replica has the lock.
    Replica,
    /// Asks redis again when the holder publishes that it has unlocked.
    Subscribed,
    /// Waits for the only token in a list of redis.
    Token,
    /// Asks five redis servers, and again after a random time of up to 200 ms.
    Redlock,
    /// Waits in the queue of the chapter's mutex.
    Etcd,
}

/// The servers of one lock.
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    redis: Vec<Redis>,
    etcd: Vec<Server>,
}

impl Setting {
    /// Starts this number of redis servers, with these lines in their `redis.conf`.
    pub async fn redis(
        name: &'static str,
        kind: Kind,
        servers: usize,
        config: &str,
    ) -> Result<Setting> {
        let mut setting = Setting { name, kind, redis: Vec::new(), etcd: Vec::new() };
        for _ in 0..servers {
            setting.redis.push(Redis::start(config).await?);
        }
        match kind {
            Kind::Replica => setting.redis.push(Redis::replica_of(setting.redis[0].address).await?),
            Kind::Token => {
                setting.redis[0].client("").await?.ask("RPUSH queue token").await?;
            }
            _ => {}
        }
        Ok(setting)
    }

    /// Starts an etcd with this number of members.
    pub async fn etcd(name: &'static str, members: usize) -> Result<Setting> {
        let etcd = scale::start(members).await?.members;
        Ok(Setting { name, kind: Kind::Etcd, redis: Vec::new(), etcd })
    }

    /// Returns how many requests all servers together have received.
    pub async fn requests(&self) -> Result<i64> {
        let mut sum = 0;
        for redis in &self.redis {
            let stats = redis.client("").await?.ask("INFO stats").await?;
            // Redis also counts the commands inside scripts, so count reads: here, a request is
            // one.
            let line = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
            sum += line.context("cannot count requests: INFO has no total_reads_processed; use redis 6.2 or later")?.trim().parse::<i64>()?;
        }
        for member in &self.etcd {
            sum += metric(member.address(), |line| {
                line.starts_with("grpc_server_msg_received_total{")
            })?;
        }
        Ok(sum)
    }
}

/// A contender for the lock of a [`Setting`].
pub struct Contender {
    kind: Kind,
    lock: Lock,
}

enum Lock {
    Redis { client: Client, name: String, unlocks: Option<Unlocks> },
    Redlock(LockManager, Option<rslock::Lock>),
    Etcd(Session, Option<Guard>),
}

impl Contender {
    pub async fn new(setting: &Setting, number: usize) -> Result<Contender> {
        let lock = match setting.kind {
            Kind::Etcd => {
                let endpoints: Vec<_> = setting.etcd.iter().map(Server::endpoint).collect();
                Lock::Etcd(Session::open(&connect_to(endpoints).await?, TTL).await?, None)
            }
            Kind::Redlock => Lock::Redlock(manager(&addresses(&setting.redis))?, None),
            kind => {
                let redis = &setting.redis[0];
                let unlocks = match kind {
                    Kind::Subscribed => Some(subscribe(redis).await?),
                    _ => None,
                };
                Lock::Redis { client: redis.client("").await?, name: format!("c{number}"), unlocks }
            }
        };
        Ok(Contender { kind: setting.kind, lock })
    }

    /// Waits for the lock.
    pub async fn lock(&mut self) -> Result<()> {
        match &mut self.lock {
            Lock::Redis { client, .. } if self.kind == Kind::Token => {
                ensure!(client.ask("BLPOP queue 5").await? != NIL, "unexpected: the token is gone");
            }
            Lock::Redis { client, name, unlocks } => {
                let set = format!("SET lock {name} NX PX {}", TTL.as_millis());
                loop {
                    // Forget unlocks that were published before this request.
                    while unlocks.as_mut().is_some_and(|(_, u)| u.try_recv().is_ok()) {}
                    if client.ask(&set).await? != NIL {
                        break;
                    }
                    match (self.kind, &mut *unlocks) {
                        // The limit is for a lock that expires: that publishes nothing.
                        (Kind::Subscribed, Some((_, u))) => drop(timeout(TTL, u.recv()).await),
                        (Kind::Often, _) => sleep(Duration::from_millis(10)).await,
                        _ => sleep(at_random()).await,
                    }
                }
                if self.kind == Kind::Replica {
                    ensure!(
                        client.ask("WAIT 1 1000").await? == "(integer) 1",
                        "unexpected: no replica has the lock"
                    );
                }
            }
            Lock::Redlock(manager, lock) => loop {
                match manager.lock("lock", TTL).await {
                    Ok(taken) => break *lock = Some(taken),
                    Err(rslock::LockError::Unavailable) => sleep(at_random()).await,
                    Err(error) => return Err(error.into()),
                }
            },
            Lock::Etcd(session, guard) => *guard = Some(Mutex::new(session, "lock").lock().await?),
        }
        Ok(())
    }

    pub async fn unlock(&mut self) -> Result<()> {
        match &mut self.lock {
            Lock::Redis { client, .. } if self.kind == Kind::Token => {
                client.ask("RPUSH queue token").await?;
            }
            Lock::Redis { client, name, .. } => {
                ensure!(
                    client.ask(&unlock(name)).await? == "(integer) 1",
                    "unexpected: the lock was lost"
                );
                if self.kind == Kind::Subscribed {
                    client.ask("PUBLISH free now").await?;
                }
            }
            Lock::Redlock(manager, lock) => {
                manager.unlock(&lock.take().context("cannot unlock: there is no lock")?).await;
            }
            Lock::Etcd(_, guard) => match guard.take() {
                Some(guard) => ensure!(guard.unlock().await?, "unexpected: the lock was lost"),
                None => bail!("cannot unlock: there is no lock"),
            },
        }
        Ok(())
    }

    pub async fn leave(self) -> Result<()> {
        match self.lock {
            Lock::Etcd(session, _) => session.close().await,
            _ => Ok(()),
        }
    }
}

fn at_random() -> Duration {
    Duration::from_micros(fastrand::u64(..200_000))
}

/// The unlocks published on a channel. They arrive as long as the connection is kept.
type Unlocks = (MultiplexedConnection, UnboundedReceiver<PushInfo>);

/// Subscribes to the channel `free`, on which holders publish that they have unlocked.
async fn subscribe(redis: &Redis) -> Result<Unlocks> {
    let (sender, receiver) = unbounded_channel();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let client = redis::Client::open(format!("redis://{}/?protocol=resp3", redis.address))?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe("free").await?;
    Ok((connection, receiver))
}
