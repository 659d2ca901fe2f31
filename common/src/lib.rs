//! What every chapter needs and none of them teaches: reaching an etcd, and
//! waiting for its answers within a limit.

mod config;
pub mod server;

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use etcd_client::{Client, Error, EventType, WatchOptions};
use tokio::time::{Instant, sleep, timeout};

use config::Target;
pub use config::options;

/// How long [`connect`] waits for etcd to answer, as in the Go tutorial.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a chapter waits for one ordinary request, as in the Go tutorial.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// For [`within`]: wait for as long as it takes, and say so in the code.
pub const NO_LIMIT: Duration = Duration::MAX;

/// Connects to the etcd that `ETCDCTL_ENDPOINTS` names, or else to the one on
/// this machine, which is started first if nothing listens on its port.
///
/// # Errors
///
/// One line that names the address and the cause: within [`CONNECT_TIMEOUT`],
/// or within [`server::START_LIMIT`] if an etcd had to be started.
pub async fn connect() -> Result<Client> {
    let target = Target::from_env()?;
    if let Some(address) = target.local
        && !server::is_taken(address)
    {
        tokio::task::spawn_blocking(move || server::find_or_start(address)).await??;
    }
    let client = target.connect(CONNECT_TIMEOUT).await;
    client.map_err(|error| anyhow!("{error} ({})", target.advice()))
}

/// Connects again after a lost connection. Never starts a server.
///
/// # Errors
///
/// The server stays away for longer than [`CONNECT_TIMEOUT`]; one that accepts
/// connections and does not answer takes up to twice that time.
pub async fn reconnect() -> Result<Client> {
    let target = Target::from_env()?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // A server that is going down may answer once more.
        sleep(Duration::from_millis(100)).await;
        match target.connect(CONNECT_TIMEOUT).await {
            Err(_) if Instant::now() < deadline => {}
            result => return result,
        }
    }
}

/// Those of the servers that [`connect`] means which answer now. Never starts one.
///
/// # Errors
///
/// As [`connect`].
pub async fn endpoints() -> Result<Vec<String>> {
    Ok(Target::from_env()?.answering(CONNECT_TIMEOUT).await?.0)
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
        Ok(answer) => answer.map_err(|error| anyhow!(short(&error))),
        Err(_) => bail!("no answer within {limit:?} (the request may still have been carried out)"),
    }
}

/// Waits until etcd has deleted `key`, for as long as that takes. The chapter
/// `watch` shows what this is made of.
///
/// # Errors
///
/// The connection is lost, etcd cancels the watch, or the key is on no lease
/// (any more), so that nothing would delete it.
pub async fn deleted(client: &mut Client, key: &str) -> Result<()> {
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
    let Some(kv) = found.kvs().first() else {
        return Ok(());
    };
    ensure!(kv.lease() != 0, "{key} is on no lease: it stays");
    // From the revision after the get, so that nothing falls between the two.
    let next = found.header().map_or(0, |header| header.revision() + 1);
    let from = WatchOptions::new().with_start_revision(next);
    let mut stream = within(REQUEST_TIMEOUT, client.watch(key, Some(from))).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        let start = response.compact_revision();
        ensure!(start == 0, "revision {next} is compacted: history begins at {start}");
        ensure!(!response.canceled(), "watch cancelled: {}", response.cancel_reason());
        for event in response.events() {
            let on_lease = event.kv().is_some_and(|kv| kv.lease() != 0);
            match event.event_type() {
                EventType::Delete => return Ok(()),
                EventType::Put => ensure!(on_lease, "{key} was put without a lease: it stays"),
            }
        }
    }
    bail!("the server ended the watch")
}

/// One line of what `etcd_client::Error` prints as a page.
fn short(error: &Error) -> String {
    let status = match error {
        Error::GRpcStatus(status) => status,
        Error::LeaseKeepAliveError(text) if text == "channel closed" => return LOST.to_owned(),
        error => return error.to_string(),
    };
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    let Some(cause) = cause else {
        return status.message().to_owned();
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
        _ => text,
    }
}

const LOST: &str = "connection lost";
