//! Connecting to one etcd or a cluster, with users and with TLS.
#![allow(clippy::unwrap_used)] // covers the helper functions of the tests, too

mod background;
mod cluster;
mod connecting;
mod failover;
mod programs;
mod readme;
mod same_code;
#[cfg(feature = "tls")]
mod tls;
mod troubleshooting;
mod users;
#[cfg(not(feature = "tls"))]
mod without_tls;
