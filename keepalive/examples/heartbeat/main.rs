//! The experiment of the exercise `heartbeat`: the server is restarted, and the network
//! is cut.
//!
//! To be repaired is `yours.rs`, and not this file.

mod mistake;
mod solution;
mod wrong_deaf;
mod wrong_leave;
mod wrong_once;
mod wrong_patient;
mod yours;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};
use etcd_server::Server;
use exercise::{Exercise, Link, Scene, Verdict, blocking, broken, connect_to, gave_up, held};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

// Every answer has this function. A call names the answer first: `stay(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_deaf, wrong_leave, wrong_once, wrong_patient];
    async fn stay(
        client: &mut Client, key: &str, ttl: i64, registered: impl Fn(bool),
    ) -> Result<()>;
}

const EXERCISE: Exercise = Exercise {
    name: "heartbeat",
    answers: ANSWERS,
    hint: "Only an answer with a TTL above 0 says that the lease lives, and it says so for one TTL, \
           counted from when the renewal was sent. What is true after that, if no further answer \
           comes? What can you do about it before, and what when it is too late?",
};

const KEY: &str = "services/1";
const CONTROL: &str = "control";
const TTL: i64 = 2;

/// How long an answer may be wrong, for it must be given time to run.
const TOLERANCE: Duration = Duration::from_millis(500);
/// How long a wrong answer is looked at.
const WRONG_LIMIT: Duration = Duration::from_secs(3);
/// How long etcd may take for what is due, and an answer to register.
const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let link = Link::to(server.address()).await?;
    let (tell, says) = watch::channel(false);
    let registered = move |state| {
        tell.send_replace(state);
    };
    let mut client = connect_to(link.address()).await?;
    let stay = async move { stay(scene.answer, &mut client, KEY, TTL, registered).await };
    let task = spawn_local(stay);
    let client = connect_to(server.address()).await?;
    let mut service = Service { client, task, says, wrong: None, gone: false };

    let never = || broken("it does not register", "what your code does first");
    if let Some(verdict) = service.until(|seen| seen.entry && seen.says, never).await {
        return verdict;
    }
    println!("the service is registered, on a lease of {TTL} s");

    service.gone = false;
    let _server = blocking(move || restarted(server)).await?;
    println!("the server is restarted; all leases begin anew");
    // A restarted server gives each lease its TTL and an election timeout, 1 s. So when
    // this one has ended, all that were not renewed after the restart have ended too.
    service.put_control(TTL + 2).await?;
    let control = || bail!("etcd does not end a lease that nobody renews");
    if let Some(verdict) = service.until(|seen| !seen.control, control).await {
        return verdict;
    }
    if service.gone {
        return broken(
            "the entry was gone for a moment, and the server had been back in time",
            "how your code goes on when the stream of renewals has ended",
        );
    }
    println!("the entry is still there");

    link.cut();
    println!("the network is cut, between the service and the server");
    let lease = || bail!("etcd does not end the lease, and nobody can renew it");
    if let Some(verdict) = service.until(|seen| !seen.entry, lease).await {
        return verdict;
    }
    println!("the lease has ended; the service has known in time");

    // Longer than one request may take: who registers again meanwhile must try again.
    let away = Instant::now();
    let standing = || bail!("the time does not pass");
    if let Some(verdict) = service.until(|_| away.elapsed() > REQUEST_TIMEOUT * 2, standing).await {
        return verdict;
    }
    link.mend();
    let again = || {
        broken(
            format!("the network has been back for {PATIENCE:?}, and it is not registered again"),
            "what your code does when the lease is lost",
        )
    };
    if let Some(verdict) = service.until(|seen| seen.entry && seen.says, again).await {
        return verdict;
    }
    held("registered over a restart; not registered, and knew it; registered again")
}

fn restarted(mut server: Server) -> Result<Server> {
    server.restart()?;
    Ok(server)
}

/// What is tried, and how it is seen from outside.
struct Service {
    client: Client,
    task: JoinHandle<Result<()>>,
    /// Whether it says that it is registered.
    says: watch::Receiver<bool>,
    /// Since when it says so and is not.
    wrong: Option<Instant>,
    /// Whether the entry has been gone.
    gone: bool,
}

/// What there is at one moment.
struct Seen {
    entry: bool,
    control: bool,
    says: bool,
}

impl Service {
    /// Compares what the service says with what etcd says, until this is seen; the
    /// verdict if there is one, or if it takes too long.
    async fn until(
        &mut self,
        done: impl Fn(&Seen) -> bool,
        overdue: impl FnOnce() -> Result<Verdict>,
    ) -> Option<Result<Verdict>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = match self.look().await {
                Ok(seen) => seen,
                Err(error) => return Some(Err(error)),
            };
            if self.task.is_finished() {
                return Some(match (&mut self.task).await {
                    Ok(Err(error)) => gave_up(&error),
                    Ok(Ok(())) => broken("it has come to an end", "what ends your loops"),
                    Err(error) => Err(error.into()),
                });
            }
            self.gone |= !seen.entry;
            if seen.says && !seen.entry {
                let since = *self.wrong.get_or_insert(Instant::now());
                if since.elapsed() > WRONG_LIMIT {
                    return Some(wrong(WRONG_LIMIT));
                }
            } else if let Some(since) = self.wrong.take()
                && since.elapsed() > TOLERANCE
            {
                return Some(wrong(since.elapsed()));
            }
            if self.wrong.is_none() {
                if done(&seen) {
                    return None;
                }
                if Instant::now() > deadline {
                    return Some(overdue());
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look(&mut self) -> Result<Seen> {
        let entry = self.is_there(KEY).await?;
        let control = self.is_there(CONTROL).await?;
        Ok(Seen { entry, control, says: *self.says.borrow() })
    }

    async fn is_there(&mut self, key: &str) -> Result<bool> {
        // The first request after a restart may meet the connection that is gone.
        let mut found = within(REQUEST_TIMEOUT, self.client.get(key, None)).await;
        if found.is_err() {
            found = within(REQUEST_TIMEOUT, self.client.get(key, None)).await;
        }
        Ok(found.context("get failed")?.count() > 0)
    }

    async fn put_control(&mut self, ttl: i64) -> Result<()> {
        self.is_there(CONTROL).await?;
        let lease = within(REQUEST_TIMEOUT, self.client.lease_grant(ttl, None)).await?;
        let on_lease = PutOptions::new().with_lease(lease.id());
        within(REQUEST_TIMEOUT, self.client.put(CONTROL, "", Some(on_lease))).await?;
        Ok(())
    }
}

fn wrong(time: Duration) -> Result<Verdict> {
    broken(
        format!("for {time:.1?} it said that it was registered, and etcd said that it was not"),
        "how your code would learn that a renewal has not taken place",
    )
}
