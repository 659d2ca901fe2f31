use std::cell::Cell;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use common::{Failover, REQUEST_TIMEOUT, connect, connect_through, within};
use etcd_client::{Client, DeleteOptions};

use crate::Wire;

/// Where an experiment takes place.
#[derive(Clone)]
pub struct Scene {
    /// The name of the answer to try.
    pub answer: &'static str,
    /// What all keys of this run begin with.
    prefix: String,
    /// Whether keys were put on a server that is not the experiment's own.
    shared: Rc<Cell<bool>>,
}

impl Scene {
    /// Below `EXERCISE_PREFIX`, at a place that no other run has.
    pub(crate) fn new(exercise: &str, answer: &'static str) -> Result<Scene> {
        let below = match env::var_os("EXERCISE_PREFIX") {
            Some(below) if !below.is_empty() => {
                below.into_string().ok().context("EXERCISE_PREFIX is not UTF-8")?
            }
            _ => "exercise".to_owned(),
        };
        // A number of its own, without asking anybody.
        let run = RandomState::new().hash_one(());
        let prefix = format!("{}/{exercise}/{run:016x}/", below.trim_end_matches('/'));
        Ok(Scene { answer, prefix, shared: Rc::default() })
    }

    /// The full name of a key of this run.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name as the experiment prints it, without what differs from run to run.
    pub fn shown<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.prefix).unwrap_or(key)
    }

    /// Connects to the chapters' etcd.
    ///
    /// # Errors
    ///
    /// As [`common::connect`].
    pub async fn connect(&self) -> Result<Client> {
        let client = connect().await?;
        self.shared.set(true);
        Ok(client)
    }

    /// Another client of the same etcd, and the wire that it is on.
    pub async fn connect_by_wire(&self) -> Result<(Client, Wire)> {
        crate::wire::connect().await
    }

    /// Removes what this run has put.
    pub(crate) async fn clean(&self) -> Result<()> {
        if !self.shared.get() {
            return Ok(());
        }
        let mut client = connect_through(Failover).await?;
        let all = DeleteOptions::new().with_prefix();
        within(REQUEST_TIMEOUT, client.delete(&*self.prefix, Some(all)))
            .await
            .context("cannot remove the keys of this exercise")?;
        Ok(())
    }
}

/// A client of a server that the experiment has started.
pub async fn connect_to(server: SocketAddr) -> Result<Client> {
    common::connect_to([server.to_string()]).await
}

/// The same, and the wire that it is on.
pub async fn connect_by_wire_to(server: SocketAddr) -> Result<(Client, Wire)> {
    crate::wire::connect_to(server).await
}

/// Does what blocks, such as starting a server, while the tasks go on.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
