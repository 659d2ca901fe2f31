//! The experiment of the exercise `heartbeat`: the server is restarted, and the network
//! is cut.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_deaf;
mod wrong_leave;
mod wrong_once;
mod wrong_patient;
mod yours;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, PutOptions};
use etcd_server::{Proxy, Server};
use exercise::{
    Exercise, Scene, Stopwatch, Verdict, blocking, broken, check_running, connect_to, held,
};
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
    hint: "Only a response with a TTL above 0 says that the lease lives. It says so for one TTL, counted \
           from the moment when the renewal was sent. What can you say after that, if no other \
           response comes? What can you do before that, and what when it is too late?",
};

const KEY: &str = "services/1";
const CONTROL: &str = "control";
const TTL: i64 = 2;

/// How long an answer may say the wrong thing: it needs time to run.
const TOLERANCE: Duration = Duration::from_millis(500);
/// How long the experiment watches an answer that says the wrong thing.
const WRONG_LIMIT: Duration = Duration::from_secs(3);
/// How long etcd may take to end a lease, and an answer to register.
const PATIENCE: Duration = Duration::from_secs(8);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let (tell, says) = watch::channel(false);
    let registered = move |state| {
        tell.send_replace(state);
    };
    let mut client = connect_to(link.address()).await?;
    let stay = async move { stay(scene.answer, &mut client, KEY, TTL, registered).await };
    let task = spawn_local(stay);
    let client = connect_to(server.address()).await?;
    let mut service = Service { client, task, says, wrong: Stopwatch::default(), gone: false };

    let never = || broken("it does not register", "what your code does first");
    service.until(|seen| seen.entry && seen.says, never).await?;
    writeln!(stdout(), "the service is registered, on a lease of {TTL} s")?;

    service.gone = false;
    let server = blocking(move || server.restart().map(|()| server)).await?;
    // The first request of the old client could use the connection that is gone.
    service.client = connect_to(server.address()).await?;
    writeln!(stdout(), "the server is restarted; all leases start again with their full TTL")?;
    // A restarted server gives each lease its TTL and an election timeout, 1 s. So when
    // this one has ended, all that were not renewed after the restart have ended too.
    service.put_control(TTL + 2).await?;
    let control = || bail!("etcd does not end a lease that nobody renews");
    service.until(|seen| !seen.control, control).await?;
    if service.gone {
        return broken(
            "the entry was gone for a moment, and the server had been back in time",
            "how your code goes on when the stream of renewals has ended",
        );
    }
    writeln!(stdout(), "the entry is still there")?;

    link.cut();
    writeln!(stdout(), "the network is cut, between the service and the server")?;
    let lease = || bail!("etcd does not end the lease, and nobody can renew it");
    service.until(|seen| !seen.entry, lease).await?;
    writeln!(stdout(), "the lease has ended; the service has known in time")?;

    // Longer than one request may take: a service that registers meanwhile must retry.
    let away = Instant::now();
    let standing = || bail!("the time does not pass");
    service.until(|_| away.elapsed() > REQUEST_TIMEOUT * 2, standing).await?;
    link.mend();
    let again = || {
        broken(
            format!("the network has been back for {PATIENCE:?}, and it is not registered again"),
            "what your code does when the lease is lost",
        )
    };
    service.until(|seen| seen.entry && seen.says, again).await?;
    held("registered over a restart; not registered, and knew it; registered again")
}

/// The answer that is tried, and what it says.
struct Service {
    client: Client,
    task: JoinHandle<Result<()>>,
    /// Whether it says that it is registered.
    says: watch::Receiver<bool>,
    /// For how long it says so, and is not registered.
    wrong: Stopwatch,
    /// Whether the entry has been gone.
    gone: bool,
}

/// What is so at one moment.
struct Seen {
    entry: bool,
    control: bool,
    says: bool,
}

impl Service {
    /// Compares what the service says with what etcd says, until this is seen. If that takes
    /// too long, it ends as `overdue` says.
    async fn until(
        &mut self,
        done: impl Fn(&Seen) -> bool,
        overdue: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.look().await?;
            check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;
            self.gone |= !seen.entry;
            let wrong = seen.says && !seen.entry;
            if let Some(time) = self.wrong.too_long(wrong, TOLERANCE, WRONG_LIMIT) {
                return broken(
                    format!(
                        "for {time:.1?} it said that it was registered, and etcd said that it was \
                         not"
                    ),
                    "how your code would learn that a renewal has not taken place",
                );
            }
            if !wrong && done(&seen) {
                return Ok(());
            }
            if !wrong && Instant::now() > deadline {
                return overdue();
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
        let found =
            within(REQUEST_TIMEOUT, self.client.get(key, None)).await.context("get failed")?;
        Ok(found.count() > 0)
    }

    async fn put_control(&mut self, ttl: i64) -> Result<()> {
        let lease = within(REQUEST_TIMEOUT, self.client.lease_grant(ttl, None)).await?;
        let on_lease = PutOptions::new().with_lease(lease.id());
        within(REQUEST_TIMEOUT, self.client.put(CONTROL, "", Some(on_lease))).await?;
        Ok(())
    }
}
