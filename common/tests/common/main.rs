//! Connecting, as the chapters do it: to one etcd or a cluster, with users, with TLS.
#![allow(clippy::unwrap_used)] // also in what the tests share

mod connecting;
mod failover;
mod members;
mod readme;
#[cfg(feature = "tls-tests")]
mod tls;
mod users;
#[cfg(not(feature = "tls-tests"))]
mod without_tls;
