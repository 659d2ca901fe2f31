//! A client of one redis.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Value};
use tokio::time::sleep;

use crate::LOOK;

/// How long a redis may take to connect or to answer a command, and a lock to be free that must be.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What `redis-cli` shows if there is no value, or `SET NX` has set nothing.
pub const NIL: &str = "(nil)";

/// Whose commands are printed as one would type them into `redis-cli`, and whose answers as that
/// shows them.
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

    /// Sends a command, and returns the answer. Prints nothing.
    ///
    /// # Errors
    ///
    /// The redis is gone, or does not answer within [`LIMIT`]. What it refuses is an answer.
    pub async fn ask(&mut self, typed: &str) -> Result<String> {
        let mut command = Cmd::new();
        command.arg(words(typed));
        match command.query_async(&mut self.connection).await {
            Ok(value) => Ok(shown(&value)),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                let code = error.code().unwrap_or_default();
                Ok(format!("(error) {code} {}", error.detail().unwrap_or_default()))
            }
            Err(error) => {
                bail!("redis at {} has ended, or does not answer {typed:?}: {error}", self.address)
            }
        }
    }

    /// Sends a command, and prints it with the answer. This must be the expected one.
    pub async fn hears(&mut self, typed: &str, expected: &str) -> Result<()> {
        let answer = self.ask(typed).await?;
        say!("  {}> {typed}   {answer}", self.name)?;
        ensure!(answer == expected, "not what was to be shown, which is {expected}");
        Ok(())
    }

    /// Sends a `SET NX` again and again until it sets the key. Returns how long that took, and prints it.
    pub async fn waits_for(&mut self, set: &str) -> Result<Duration> {
        let begin = Instant::now();
        while self.ask(set).await? == NIL {
            ensure!(begin.elapsed() < LIMIT, "{} waits for {LIMIT:?}", self.name);
            sleep(LOOK).await;
        }
        Ok(begin.elapsed())
    }

    /// Sends a `SET NX` again and again for so long. It must never set the key.
    pub async fn waits_in_vain(&mut self, set: &str, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            ensure!(self.ask(set).await? == NIL, "not what was to be shown: the lock is free");
            sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Returns the command that deletes the lock if it is the client's, as redis's documentation has it: nobody
/// comes between the two.
pub fn unlock(name: &str) -> String {
    format!(
        "EVAL \"return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0\" \
         1 lock {name}"
    )
}

/// Returns the words of a command. What stands in quotation marks is one word.
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

/// Returns an answer as `redis-cli` shows it on a terminal.
fn shown(answer: &Value) -> String {
    match answer {
        Value::Nil => NIL.to_owned(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => format!("(integer) {number}"),
        Value::BulkString(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        Value::Array(values) => {
            let lines = values.iter().zip(1..).map(|(v, n)| format!("{n}) {}", shown(v)));
            lines.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}
