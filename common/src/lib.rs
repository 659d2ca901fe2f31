//! What every chapter needs and none of them teaches: reaching an etcd, and
//! waiting for its answers within a limit.

mod config;
mod connection;
mod failover;
pub mod server;
mod tls;

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use etcd_client::{BalancedChannelBuilder, Client, Error, EventType, WatchOptions};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use config::Target;
pub use config::plain_options;
use connection::ask;
pub use failover::Failover;

/// How long [`connect`] waits for etcd to answer, as in the Go tutorial.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a chapter waits for one ordinary request, as in the Go tutorial.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// For [`within`]: wait for as long as it takes, and say so in the code.
pub const NO_LIMIT: Duration = Duration::MAX;

/// Between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(100);

const NO_ANSWER: &str = "no answer";

/// Connects to the etcd that `ETCDCTL_ENDPOINTS` names, or else to the one on
/// this machine, which is started first if nothing listens on its port.
///
/// Of several endpoints the client uses those that answer now; the others are
/// named on stderr, and used when none of the first answers any more. It stays
/// with one as long as that answers, and then goes on to the next ([`Failover`]).
///
/// # Errors
///
/// One line that names each address with the cause: within [`CONNECT_TIMEOUT`],
/// with a user up to twice that, or within [`server::START_LIMIT`] if an etcd had
/// to be started.
pub async fn connect() -> Result<Client> {
    let target = Target::from_env()?;
    if let Some(address) = target.local
        && !server::is_taken(address)
    {
        tokio::task::spawn_blocking(move || server::find_or_start(address)).await??;
    }
    let answers = target.ask_all().await?;
    for (endpoint, cause) in &answers.without {
        eprintln!("without {endpoint}: {cause}");
    }
    match (&answers.there[..], &answers.without[..]) {
        ([(_, client)], []) if target.user.is_none() => Ok(client.clone()),
        _ => target.log_in(&answers, Failover).await,
    }
}

/// Connects to the same servers on a channel of the caller's. Never starts one.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_through<B>(channel: B) -> Result<Client>
where
    B: BalancedChannelBuilder<Error = Error> + Clone,
{
    let target = Target::from_env()?;
    target.log_in(&target.ask_all().await?, channel).await
}

/// Waits, after a stream was lost, until etcd can be reached again, if need be by
/// another member. Never starts a server.
///
/// # Errors
///
/// It cannot for [`CONNECT_TIMEOUT`], and up to [`REQUEST_TIMEOUT`] more.
pub async fn reconnect(client: &Client) -> Result<()> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // A server that is going down may answer once more.
        sleep(PAUSE).await;
        let cause = match timeout(REQUEST_TIMEOUT, ask(client.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => short(&error),
            Err(_) => NO_ANSWER.to_owned(),
        };
        if Instant::now() > deadline {
            bail!("cannot reach etcd at {}: {cause}", Target::from_env()?.endpoints.join(", "));
        }
    }
}

/// Waits for the answer to one request, but no longer than `limit`.
///
/// This is Go's `context.WithTimeout` around one call.
///
/// # Errors
///
/// Either etcd's, in one line, or that no answer came. The latter says nothing
/// about the server: it may carry the request out all the same.
pub async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T> {
    match timeout(limit, request).await {
        Ok(Err(error)) if code(&error) == Some(Code::PermissionDenied) => {
            bail!("{} ({})", short(&error), Target::from_env()?.who())
        }
        Ok(answer) => answer.map_err(|error| anyhow!(short(&error))),
        Err(_) => bail!("no answer within {limit:?} (the request may still have been carried out)"),
    }
}

/// Waits until etcd has deleted `key`, for as long as that takes. The chapter
/// `watch` shows what this is made of.
///
/// # Errors
///
/// etcd cannot be reached for [`CONNECT_TIMEOUT`], it cancels the watch, or the
/// key is on no lease (any more), so that nothing would delete it.
pub async fn deleted(client: &mut Client, key: &str) -> Result<()> {
    let mut failed = false;
    loop {
        match watch_deletion(client, key).await {
            Ok(true) => return Ok(()),
            // Not the connection's fault, if it comes again on another.
            Err(error) if failed => return Err(error),
            ended => failed = ended.is_err(),
        }
        reconnect(client).await?;
    }
}

/// Whether etcd has deleted the key; else the stream was lost before it did.
async fn watch_deletion(client: &mut Client, key: &str) -> Result<bool> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let Some(kv) = found.kvs().first() else {
        return Ok(true);
    };
    ensure!(kv.lease() != 0, "{key} is on no lease: it stays");
    // From the revision after the get, so that nothing falls between the two.
    let next = found.header().map_or(0, |header| header.revision() + 1);
    let from = WatchOptions::new().with_start_revision(next);
    let mut stream = within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await?;
    while let Ok(Some(response)) = within(NO_LIMIT, stream.message()).await {
        let start = response.compact_revision();
        ensure!(start == 0, "revision {next} is compacted: history begins at {start}");
        ensure!(!response.canceled(), "watch cancelled: {}", response.cancel_reason());
        for event in response.events() {
            let on_lease = event.kv().is_some_and(|kv| kv.lease() != 0);
            match event.event_type() {
                EventType::Delete => return Ok(true),
                EventType::Put => ensure!(on_lease, "{key} was put without a lease: it stays"),
            }
        }
    }
    Ok(false)
}

/// One line of what `etcd_client::Error` prints as a page.
fn short(error: &Error) -> String {
    let (text, mut cause) = match error {
        Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        Error::TransportError(error) => (error.to_string(), error.source()),
        Error::LeaseKeepAliveError(text) if text == "channel closed" => return LOST.to_owned(),
        error => return error.to_string(),
    };
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    let Some(cause) = cause else {
        return text;
    };
    let text = cause.to_string();
    match cause.downcast_ref().map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => LOST.to_owned(),
        // The same, as the HTTP/2 library has it.
        None if ["broken pipe", "connection closed", "connection reset"]
            .iter()
            .any(|end| text.ends_with(end)) =>
        {
            LOST.to_owned()
        }
        // As the TLS library has it.
        _ if text.contains("close_notify") => LOST.to_owned(),
        _ => text,
    }
}

const LOST: &str = "connection lost";

/// gRPC's word for what kind of error this is.
fn code(error: &Error) -> Option<Code> {
    match error {
        Error::GRpcStatus(status) => Some(status.code()),
        _ => None,
    }
}
