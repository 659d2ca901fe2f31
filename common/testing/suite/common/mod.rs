//! Connecting, as the chapters do it: to one etcd or a cluster, with users, with TLS.
#![allow(clippy::unwrap_used)] // also in what the tests share

mod background;
mod cluster; // first, as it takes longest
mod connecting;
mod failover;
mod programs;
mod readme;
#[cfg(feature = "tls")]
mod tls;
mod troubleshooting;
mod users;
#[cfg(not(feature = "tls"))]
mod without_tls;
