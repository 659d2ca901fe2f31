use std::cell::{Cell, RefCell};
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use common::{Failover, REQUEST_TIMEOUT, connect, connect_through, within};
use etcd_client::{Client, DeleteOptions};

use crate::wire::{self, Wire};
use crate::{Steps, Timeline, Verdict};

/// Where an experiment takes place.
#[derive(Clone)]
pub struct Scene {
    /// The name of the answer that is tried.
    pub answer: &'static str,
    /// The picture that is shown before the verdict, if anything has been noted.
    pub timeline: Timeline,
    /// The picture that is shown before *broken*, if any.
    steps: Rc<RefCell<Steps>>,
    /// The prefix of all keys of this run.
    prefix: String,
    /// Whether the experiment has used a server that is not its own.
    shared: Rc<Cell<bool>>,
}

impl Scene {
    /// Returns a scene below `EXERCISE_PREFIX`, at a place that no other run has.
    pub(crate) fn new(exercise: &str, answer: &'static str) -> Result<Scene> {
        let below = match env::var_os("EXERCISE_PREFIX") {
            Some(below) if !below.is_empty() => {
                below.into_string().ok().context("EXERCISE_PREFIX is not UTF-8")?
            }
            _ => "exercise".to_owned(),
        };
        // A random number, so that no server has to give one.
        let run = RandomState::new().hash_one(());
        let prefix = format!("{}/{exercise}/{run:016x}/", below.trim_end_matches('/'));
        Ok(Scene {
            answer,
            prefix,
            timeline: Timeline::default(),
            steps: Rc::default(),
            shared: Rc::default(),
        })
    }

    /// Returns the full name of a key of this run.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Shows what came after what, if the verdict is *broken*. A later call replaces it, as when a round
    /// is played again.
    pub fn show(&self, steps: Steps) {
        self.steps.replace(steps);
    }

    /// Returns the pictures that belong to this verdict.
    pub(crate) fn pictures(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Held(_) => self.timeline.to_string(),
            Verdict::Broken { .. } => format!("{}{}", self.timeline, self.steps.borrow()),
        }
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

    /// Connects to the chapters' etcd on a wire. Returns the client and its wire. Never starts a server.
    ///
    /// # Errors
    ///
    /// As [`common::connect_through`].
    pub async fn connect_by_wire(&self) -> Result<(Client, Wire)> {
        self.shared.set(true);
        wire::connect().await
    }

    /// Removes the keys of this run.
    pub(crate) async fn clean(&self) -> Result<()> {
        if !self.shared.get() {
            return Ok(());
        }
        let mut client = connect_through(Failover::default()).await?;
        let all = DeleteOptions::new().with_prefix();
        within(REQUEST_TIMEOUT, client.delete(&*self.prefix, Some(all)))
            .await
            .context("cannot remove the keys of this exercise")?;
        Ok(())
    }
}

/// Returns a client of a server that the experiment has started.
///
/// # Errors
///
/// None that a running server causes: nothing is sent yet.
pub async fn connect_to(server: SocketAddr) -> Result<Client> {
    common::connect_to([server.to_string()]).await
}

/// Returns a client of a server that the experiment has started, and its wire.
///
/// # Errors
///
/// As [`connect_to`].
pub async fn connect_by_wire_to(server: SocketAddr) -> Result<(Client, Wire)> {
    wire::connect_to(server).await
}

/// Runs a function that blocks, such as `Server::start`, while the tasks go on.
///
/// # Errors
///
/// Those of `work`, or `work` has panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
