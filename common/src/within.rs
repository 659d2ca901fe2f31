//! Waiting for an answer, but not for ever.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use etcd_client::Error;
use tokio::time::timeout;
use tonic::Code;

use crate::error::{code, one_line};
use crate::settings::Settings;

/// How long a chapter waits for one ordinary request, as in the Go tutorial.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// For [`within`]: wait for as long as it takes, and say so in the code.
pub const NO_LIMIT: Duration = Duration::MAX;

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
            bail!("{} ({})", one_line(&error), Settings::from_env()?.who())
        }
        Ok(answer) => answer.map_err(|error| anyhow!(one_line(&error))),
        Err(_) => bail!("no answer within {limit:?} (the request may still have been carried out)"),
    }
}
