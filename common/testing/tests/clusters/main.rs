//! The README of the workspace, and what is no chapter's own: clusters of which a member fails,
//! users, and TLS.
#![allow(clippy::unwrap_used)] // also in what the tests share

mod failover;
mod members;
mod readme;
#[cfg(feature = "tls")]
mod tls;
mod users;
#[cfg(not(feature = "tls"))]
mod without_tls;
