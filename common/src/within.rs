//! Waiting for a response, but not for ever.

use std::time::Duration;

use anyhow::{Result, bail};
use etcd_client::Error;
use tokio::time::timeout;

use crate::error::{MAY_HAVE, RequestError};

/// How long a chapter waits for the response to an ordinary request: 1 s, as in the Go tutorial.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// No limit for [`within`]: it waits as long as it takes.
pub const NO_LIMIT: Duration = Duration::MAX;

/// Waits for the response to one request, but no longer than `limit`.
///
/// This is Go's `context.WithTimeout` around one call. A call to etcd-client alone has no limit.
///
/// # Errors
///
/// - A [`RequestError`]: etcd refused the request, or the connection was lost.
/// - No response came within `limit`.
///
/// After a lost connection or without a response, etcd may carry out the request all the same.
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
