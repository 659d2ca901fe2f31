//! What went wrong, in one line.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use etcd_client::Error;
use tonic::Code;

pub(crate) const NO_ANSWER: &str = "no answer";
const LOST: &str = "connection lost";

/// One line of what `etcd_client::Error` prints as a page.
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

/// gRPC's word for what kind of error this is.
pub(crate) fn code(error: &Error) -> Option<Code> {
    match error {
        Error::GRpcStatus(status) => Some(status.code()),
        _ => None,
    }
}
