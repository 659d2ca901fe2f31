//! A client of one redis.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Value};
use tokio::time::sleep;

use crate::POLL_INTERVAL;

/// How long to wait for a connection, for a reply, or for a lock that must become free.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The reply if there is no value, or if `SET NX` has set nothing.
pub const NIL: &str = "(nil)";

/// A client that prints its commands as you would type them into `redis-cli`, and the replies as
/// `redis-cli` shows them.
pub struct Client {
    name: &'static str,
    address: SocketAddr,
    pub connection: MultiplexedConnection,
}

impl Client {
    pub async fn connect(name: &'static str, address: SocketAddr) -> Result<Client> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(LIMIT))
            .set_response_timeout(Some(LIMIT));
        let client = redis::Client::open(format!("redis://{address}"))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection =
            connection.map_err(|error| anyhow!("cannot connect to redis at {address}: {error}"))?;
        Ok(Client { name, address, connection })
    }

    /// Sends a command and returns the reply. Prints nothing.
    ///
    /// # Errors
    ///
    /// The redis is gone, or it doesn't reply within [`LIMIT`]. A refusal is a reply.
    pub async fn ask(&mut self, typed: &str) -> Result<String> {
        let mut command = Cmd::new();
        command.arg(words(typed));
        match command.query_async(&mut self.connection).await {
            Ok(value) => Ok(display(&value)),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                let code = error.code().unwrap_or_default();
                Ok(format!("(error) {code} {}", error.detail().unwrap_or_default()))
            }
            Err(error) => {
                bail!(
                    "redis at {} has ended, or does not reply to {typed:?}: {error}",
                    self.address
                )
            }
        }
    }

    /// Sends a command, and prints it with the reply. Fails if that isn't the expected reply.
    pub async fn expect_reply(&mut self, typed: &str, expected: &str) -> Result<()> {
        let reply = self.ask(typed).await?;
        say!("  {}> {typed}   {reply}", self.name)?;
        ensure!(reply == expected, "unexpected reply: the lab expected {expected}");
        Ok(())
    }

    /// Sends a `SET NX` again and again until it sets the key. Returns how long that took.
    pub async fn wait_for_lock(&mut self, set: &str) -> Result<Duration> {
        let begin = Instant::now();
        while self.ask(set).await? == NIL {
            ensure!(
                begin.elapsed() < LIMIT,
                "unexpected: {} has no lock after {LIMIT:?}",
                self.name
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(begin.elapsed())
    }

    /// Sends a `SET NX` again and again for this time. Fails if it sets the key.
    pub async fn expect_no_lock_for(&mut self, set: &str, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            ensure!(self.ask(set).await? == NIL, "unexpected: the lock is free");
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

/// Returns the command that deletes the lock if its value is `name`, as in redis's documentation.
/// It is a script, so that no other client can change the lock between the check and the deletion.
pub fn unlock(name: &str) -> String {
    format!(
        "EVAL \"return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0\" \
         1 lock {name}"
    )
}

/// Returns the words of a command. Text in quotation marks is one word.
fn words(typed: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (index, part) in typed.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace()),
            _ => words.push(part),
        }
    }
    words
}

/// Returns a reply as `redis-cli` shows it on a terminal.
fn display(reply: &Value) -> String {
    match reply {
        Value::Nil => NIL.to_owned(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => format!("(integer) {number}"),
        Value::BulkString(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        Value::Array(values) => {
            let lines = values.iter().zip(1..).map(|(v, n)| format!("{n}) {}", display(v)));
            lines.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}
