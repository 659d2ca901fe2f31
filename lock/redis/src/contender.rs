//! One who locks and unlocks, in each of the ways that are compared.

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
    /// Asks redis again after a random time of at most 200 ms, as Redlock's libraries do by default.
    AtRandom,
    /// As `AtRandom`, and then waits until the replica has the lock.
    Replica,
    /// Asks redis again when the one who unlocks publishes that.
    Told,
    /// Waits in a list of redis for the one token.
    Token,
    /// Asks five redis, again after a random time of at most 200 ms.
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
    /// Starts so many redis, with these lines in their `redis.conf`.
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

    /// Starts an etcd with so many members.
    pub async fn etcd(name: &'static str, members: usize) -> Result<Setting> {
        let etcd = scale::start(members).await?.members;
        Ok(Setting { name, kind: Kind::Etcd, redis: Vec::new(), etcd })
    }

    /// Returns what all servers together have been asked so far.
    pub async fn requests(&self) -> Result<i64> {
        let mut sum = 0;
        for redis in &self.redis {
            let stats = redis.client("").await?.ask("INFO stats").await?;
            // Not its count of commands, which has those in scripts, too. One read is one request here.
            let line = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
            sum += line.context("redis does not count its reads")?.trim().parse::<i64>()?;
        }
        for member in &self.etcd {
            sum += metric(member.address(), |line| {
                line.starts_with("grpc_server_msg_received_total{")
            })?;
        }
        Ok(sum)
    }
}

/// One who wants the lock of a [`Setting`].
pub struct Contender {
    kind: Kind,
    lock: Lock,
}

enum Lock {
    Redis { client: Client, name: String, news: Option<News> },
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
                let news = match kind {
                    Kind::Told => Some(subscribe(redis).await?),
                    _ => None,
                };
                Lock::Redis { client: redis.client("").await?, name: format!("c{number}"), news }
            }
        };
        Ok(Contender { kind: setting.kind, lock })
    }

    /// Waits for the lock.
    pub async fn lock(&mut self) -> Result<()> {
        match &mut self.lock {
            Lock::Redis { client, .. } if self.kind == Kind::Token => {
                ensure!(client.ask("BLPOP queue 5").await? != NIL, "the token is gone");
            }
            Lock::Redis { client, name, news } => {
                let set = format!("SET lock {name} NX PX {}", TTL.as_millis());
                loop {
                    // What was published before does not count.
                    while news.as_mut().is_some_and(|(_, news)| news.try_recv().is_ok()) {}
                    if client.ask(&set).await? != NIL {
                        break;
                    }
                    match (self.kind, &mut *news) {
                        // The lock may also expire, which nobody publishes.
                        (Kind::Told, Some((_, news))) => drop(timeout(TTL, news.recv()).await),
                        (Kind::Often, _) => sleep(Duration::from_millis(10)).await,
                        _ => sleep(at_random()).await,
                    }
                }
                if self.kind == Kind::Replica {
                    ensure!(client.ask("WAIT 1 1000").await? == "(integer) 1", "no replica has it");
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
                ensure!(client.ask(&unlock(name)).await? == "(integer) 1", "the lock was lost");
                if self.kind == Kind::Told {
                    client.ask("PUBLISH free now").await?;
                }
            }
            Lock::Redlock(manager, lock) => {
                manager.unlock(&lock.take().context("there is no lock")?).await;
            }
            Lock::Etcd(_, guard) => match guard.take() {
                Some(guard) => ensure!(guard.unlock().await?, "the lock was lost"),
                None => bail!("there is no lock"),
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

/// What is published on a channel, as long as the connection is kept.
type News = (MultiplexedConnection, UnboundedReceiver<PushInfo>);

/// Subscribes to the channel `free`.
async fn subscribe(redis: &Redis) -> Result<News> {
    let (sender, receiver) = unbounded_channel();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let client = redis::Client::open(format!("redis://{}/?protocol=resp3", redis.address))?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe("free").await?;
    Ok((connection, receiver))
}
