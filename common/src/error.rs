//! The errors of etcd's client, in one line, and which of them may pass.

use std::error::Error as _;
use std::fmt;
use std::io::{self, ErrorKind};

use anyhow::Result;
use etcd_client::Error;
use tonic::Code;

pub(crate) const NO_RESPONSE: &str = "no response";
pub(crate) const LOST: &str = "connection lost";
pub(crate) const REFUSED: &str = "connection refused";

/// The end of a message after which nobody knows whether etcd has carried out the request.
pub(crate) const MAY_HAVE: &str = "(the request may still have been carried out)";

/// The error of a request made through [`within`](crate::within()), displayed in one line.
///
/// To tell such errors apart, get at the inner one with `anyhow::Error::downcast_ref`, or call
/// [`is_refusal`].
#[derive(Debug)]
pub struct RequestError {
    /// The error that etcd's client returned.
    pub error: Error,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = one_line(&self.error);
        f.write_str(&line)?;
        if line == LOST { write!(f, " {MAY_HAVE}") } else { Ok(()) }
    }
}

impl std::error::Error for RequestError {}

/// Whether etcd has refused a request, so that it would refuse it again. After any other error,
/// such as a lost connection, it may help to send the request again.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|RequestError { error }| is_final(error))
}

/// Whether an error is a refusal, which is any error that isn't listed here as passing. When in
/// doubt, an error that comes too soon is cheaper than a refused request that is sent forever.
pub(crate) fn is_final(error: &Error) -> bool {
    let text = one_line(error);
    match code(error) {
        _ if is_outdated(&text) => false,
        // The connection failed, and the code is the client's own.
        _ if matches!(error, Error::GRpcStatus(status) if status.source().is_some()) => false,
        // Another member may be able to serve.
        _ if text.ends_with("for learner") => false,
        Some(Code::ResourceExhausted) => !text.ends_with("too many requests"),
        Some(
            Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
            | Code::Unknown,
        ) => false,
        Some(_) => true,
        None => text.ends_with("lease not found"),
    }
}

/// Whether `message` is etcd's error for users or roles that have changed: since the client logged
/// in, if its token is a JWT, or while the request was on its way.
pub(crate) fn is_outdated(message: &str) -> bool {
    message.ends_with("auth store is old")
}

/// Turns an error after which a new connection may help, such as a lost connection, into `None`.
///
/// # Errors
///
/// etcd refused the request, or the client refused a response that is too large ([`is_refusal`]).
pub fn none_if_transient<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if !is_refusal(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// Returns the deepest cause of an error, in one line. `etcd_client::Error` itself displays a page.
pub(crate) fn one_line(error: &Error) -> String {
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
        Some(ErrorKind::ConnectionRefused) => REFUSED.to_owned(),
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => LOST.to_owned(),
        // The HTTP/2 library and the TLS library have their own words for a lost connection.
        None if ["broken pipe", "connection closed", "connection reset"]
            .iter()
            .any(|end| text.ends_with(end)) =>
        {
            LOST.to_owned()
        }
        _ if text.contains("close_notify") => LOST.to_owned(),
        _ => text,
    }
}

/// Returns the gRPC status code, or `None` if the error isn't a status.
pub(crate) fn code(error: &Error) -> Option<Code> {
    match error {
        Error::GRpcStatus(status) => Some(status.code()),
        _ => None,
    }
}
