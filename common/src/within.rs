//! Waiting for a response, but not forever.

use std::time::Duration;

use anyhow::{Result, bail};
use etcd_client::Error;
use tokio::time::timeout;

use crate::error::{MAY_HAVE, RequestError};

/// How long a chapter waits for the response to an ordinary request: 1 s, as in the Go tutorial.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A limit for [`within`] that never ends the wait.
pub const NO_LIMIT: Duration = Duration::MAX;

/// Waits for the response to one request, but no longer than `limit`.
///
/// A call to etcd-client alone may wait forever. This is Go's `context.WithTimeout` around one
/// call.
///
/// # Errors
///
/// - A [`RequestError`]: etcd refused the request, or the connection was lost.
/// - No response came within `limit`.
///
/// If the connection is lost or no response comes, etcd may still carry out the request.
pub async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T> {
    match timeout(limit, request).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(RequestError { error }.into()),
        Err(_) => bail!("no response within {limit:?} {MAY_HAVE}"),
    }
}
