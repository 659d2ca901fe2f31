//! The experiment of the exercise `heartbeat`: the server is restarted, and the network
//! is cut.
//!
//! Repair `yours.rs`, not this file.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions, PutOptions};
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Scene, Sign, Stages, Stopwatch, Timeline, Verdict, blocking, broken, check_running,
    connect_by_wire_to, connect_to, held,
};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// The function that is tried.
pub type Stay = for<'a> fn(&'a mut Client, &'a str, i64, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const KEY: &str = "services/1";
/// What the experiment does.
const NET: &str = "network";
const CONTROL: &str = "control";
const TTL: i64 = 2;

const IS: Sign = Sign('█', '#', "registered");
const IS_NOT: Sign = Sign('░', '.', "not registered");
const NETWORK: Sign = Sign('─', '-', "network");
const LATE: Sign = Sign('≈', '=', "a renewal is late");
const RESTART: Sign = Sign('▲', '^', "the server is restarted");
const CUT: Sign = Sign('╳', 'x', "no network");
const LOSS: Sign = Sign('┄', '~', "a put does not arrive");
const REVOKE: Sign = Sign('▼', 'v', "the lease is revoked");

/// How long an answer may say the wrong thing: it needs time to run.
const TOLERANCE: Duration = Duration::from_millis(500);
/// How long the experiment watches an answer that says the wrong thing.
const WRONG_LIMIT: Duration = Duration::from_secs(3);
/// How long etcd may take to end a lease, and an answer to notice that.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long an answer may take to register, once it can.
const AGAIN: Duration = Duration::from_secs(3);
/// How long it is registered again until its new lease is revoked.
const AGAIN_RENEWED: Duration = Duration::from_millis(1500);
/// How long nothing happens at first.
const UNDISTURBED: Duration = Duration::from_millis(2500);
/// How much later one renewal arrives.
const LATER: Duration = Duration::from_millis(600);
/// How often it looks at etcd.
const LOOK: Duration = Duration::from_millis(50);
/// So many renewals in a second are more than any answer needs.
const MANY: u64 = 20;
/// How long an answer may take to go on after a restart.
const RECOVERY: Duration = Duration::from_secs(1);

pub async fn run(scene: Scene, stay: Stay) -> Result<Verdict> {
    let mut server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let (tell, says) = watch::channel(false);
    let timeline = scene.timeline.clone();
    timeline.note(NET, NETWORK);
    timeline.note("etcd says", IS_NOT);
    timeline.note("it says", IS_NOT);
    let registered = Box::new(move |state| {
        timeline.note("it says", if state { IS } else { IS_NOT });
        tell.send_replace(state);
    });
    let (mut client, mut wire) = connect_by_wire_to(link.address()).await?;
    wire.open();
    let stay = async move { stay(&mut client, KEY, TTL, registered).await };
    let task = spawn_local(stay);
    let client = connect_to(server.address()).await?;
    let timeline = scene.timeline.clone();
    let mut service = Service {
        client,
        timeline: timeline.clone(),
        task,
        says,
        wrong: Stopwatch::default(),
        tolerance: TOLERANCE,
        patience: PATIENCE,
        entry: None,
        puts: 0,
    };

    let standing = || bail!("the time does not pass");
    let sent = wire.sent();
    let renews = || sent.count("LeaseKeepAlive") > 0;
    let never = || match renews() {
        true => broken(
            "it has asked for a renewal, and it does not say that it is registered",
            "which response your code waits for, and to which request it is the response",
        ),
        false => broken("it does not register", "what your code does first"),
    };
    service.until(|seen| seen.entry.is_some() && seen.says, never).await?;
    service.check_ttl().await?;
    writeln!(stdout(), "the service is registered, on a lease of {TTL} s")?;

    // Nothing happens for so long that each lease has to be renewed.
    let (since, before, grants) = (Instant::now(), service.entry, sent.count("LeaseGrant"));
    while since.elapsed() < UNDISTURBED {
        service.until(|_| true, standing).await?;
    }
    let look = match renews() {
        true => "why your code gives up a lease that lives, and which responses it waits for",
        false => "what keeps a lease alive, apart from a new one",
    };
    if service.entry != before {
        return broken(
            "the entry was put again while nothing happened, which wakes all that watch it",
            look,
        );
    }

    if sent.count("LeaseGrant") > grants {
        return broken(
            "it asked for another lease, and the first one lived",
            "what each of your requests leaves behind in etcd",
        );
    }

    let mut stages = Stages::of(5);
    link.pause_requests();
    let waited = Instant::now();
    while !link.has_paused() && waited.elapsed() < 2 * UNDISTURBED {
        service.until(|_| true, standing).await?;
    }
    timeline.note(NET, LATE);
    writeln!(stdout(), "one renewal arrives {LATER:?} late")?;
    let since = Instant::now();
    while since.elapsed() < LATER {
        service.until(|_| true, standing).await?;
    }
    link.mend();
    timeline.note(NET, NETWORK);
    // Then etcd has ended what was not renewed in time.
    while since.elapsed() < LATER + RECOVERY {
        service.until(|_| true, standing).await?;
    }
    if service.entry != before {
        return broken(
            format!("a renewal was {LATER:?} late, and the lease of {TTL} s was lost"),
            "how much of the TTL is left when your code renews",
        );
    }
    stages.pass()?;

    timeline.mark(NET, RESTART);
    let server = blocking(move || server.restart().map(|()| server)).await?;
    // The first request of the old client could use the connection that is gone.
    service.client = connect_to(server.address()).await?;
    writeln!(stdout(), "the server is restarted; all leases start again with their full TTL")?;
    // A restarted server gives each lease its TTL and an election timeout, 1 s. So when
    // this one has ended, all that were not renewed after the restart have ended too.
    service.put_control(TTL + 2).await?;
    let control = || bail!("etcd does not end a lease that nobody renews");
    let back = Instant::now();
    service.until(|seen| !seen.control || back.elapsed() > RECOVERY, control).await?;
    service.puts = 0;
    let (since, renewals) = (Instant::now(), wire.sent().count("LeaseKeepAlive"));
    service.until(|seen| !seen.control, control).await?;
    let renewals = wire.sent().count("LeaseKeepAlive") - renewals;
    let created = |entry: Option<Entry>| entry.map(|entry| entry.created);
    if created(service.entry) != created(before) {
        return broken(
            "the entry was gone for a moment, and the server had been back in time",
            "how your code goes on when the stream of renewals has ended",
        );
    }
    if service.puts > 1 {
        return broken("the entry was put again and again, which wakes all that watch it", look);
    }
    if renewals as u64 > MANY * (1 + since.elapsed().as_secs()) {
        return broken(
            format!("it opens more than {MANY} streams of renewals in a second"),
            "how often a lease needs a renewal, and how long your code waits between two",
        );
    }
    let says = || {
        broken(
            format!("the entry is there, and for {PATIENCE:?} it has said that it is not"),
            "what your code says when it has recovered",
        )
    };
    service.until(|seen| seen.says, says).await?;
    stages.pass()?;

    link.cut();
    timeline.note(NET, CUT);
    writeln!(stdout(), "the network is cut, between the service and the server")?;
    let lease = || {
        broken(
            format!("the network has been cut for {PATIENCE:?}, and the entry is still there"),
            "the lease that the entry is on, and its TTL",
        )
    };
    service.until(|seen| seen.entry.is_none(), lease).await?;
    stages.pass()?;

    // Longer than any wait may take: a service that registers meanwhile, or waits for etcd, must retry.
    let away = Instant::now();
    let limit = CONNECT_TIMEOUT + REQUEST_TIMEOUT * 3 / 2;
    while away.elapsed() < limit {
        service.until(|_| true, standing).await?;
    }
    wire.pause();
    link.mend();
    timeline.note(NET, LOSS);
    let put = timeout(AGAIN, wire.request_to(&["Put", "Txn"])).await;
    writeln!(stdout(), "the network is back, but the first put does not arrive")?;
    for wait in [TOLERANCE, REQUEST_TIMEOUT] {
        sleep(wait).await;
        if put.is_ok() && *service.says.borrow() {
            return broken(
                "it said that it was registered, and etcd had not carried out the put",
                "which response says that others find the entry",
            );
        }
    }
    let again = || {
        broken(
            format!("the network has been back for {AGAIN:?}, and it is not registered again"),
            "what your code does when the lease is lost, and how long it waits between two attempts",
        )
    };
    if put.is_err() {
        again()?;
    }
    drop(put);
    wire.open();
    timeline.note(NET, NETWORK);
    service.patience = AGAIN;
    service.until(|seen| seen.entry.is_some() && seen.says, again).await?;
    stages.pass()?;

    // It has renewed by then: on an open stream the next response has a TTL of 0, and a new one is refused.
    let since = Instant::now();
    while since.elapsed() < AGAIN_RENEWED {
        service.until(|_| true, standing).await?;
    }
    // Only etcd can know this, and tells it when it is asked for a renewal.
    (service.tolerance, service.patience) = (Duration::from_secs(TTL.unsigned_abs()), PATIENCE);
    service.revoke().await?;
    timeline.mark(NET, REVOKE);
    writeln!(stdout(), "somebody revokes the lease")?;
    let again = || broken("it is not registered again", "what your code does with each response");
    service.until(|seen| seen.entry.is_some() && seen.says, again).await?;
    service.check_ttl().await?;
    held("registered over a restart; not registered, and knew it; registered again")
}

/// The answer that is tried, and what it says.
struct Service {
    client: Client,
    timeline: Timeline,
    task: JoinHandle<Result<()>>,
    /// Whether it says that it is registered.
    says: watch::Receiver<bool>,
    /// For how long it says so, and is not registered.
    wrong: Stopwatch,
    /// For how long it may say so.
    tolerance: Duration,
    /// How long it may take until what has to be so is seen.
    patience: Duration,
    /// The entry, as etcd has said last.
    entry: Option<Entry>,
    /// How often that has changed.
    puts: usize,
}

/// The revisions at which an entry was created and put, and its lease.
#[derive(Clone, Copy, PartialEq)]
struct Entry {
    created: i64,
    put: i64,
    lease: i64,
}

/// What is so at one moment.
struct Seen {
    entry: Option<Entry>,
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
        let deadline = Instant::now() + self.patience;
        loop {
            let seen = self.look().await?;
            check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;
            self.puts += usize::from(seen.entry != self.entry);
            self.entry = seen.entry;
            self.timeline.note("etcd says", if seen.entry.is_some() { IS } else { IS_NOT });
            let wrong = seen.says && seen.entry.is_none();
            if let Some(time) = self.wrong.too_long(wrong, self.tolerance, WRONG_LIMIT) {
                let time =
                    if time < WRONG_LIMIT { "a moment".to_owned() } else { format!("{time:.1?}") };
                return broken(
                    format!(
                        "for {time} it said that it was registered, and etcd said that it was \
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
            sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> Result<Seen> {
        let all = GetOptions::new().with_all_keys();
        let found =
            within(REQUEST_TIMEOUT, self.client.get("", Some(all))).await.context("get failed")?;
        let find = |key: &str| found.kvs().iter().find(|kv| kv.key() == key.as_bytes());
        let entry = find(KEY).map(|kv| Entry {
            created: kv.create_revision(),
            put: kv.mod_revision(),
            lease: kv.lease(),
        });
        Ok(Seen { entry, control: find(CONTROL).is_some(), says: *self.says.borrow() })
    }

    /// Returns the lease of the entry.
    fn lease(&self) -> Result<i64> {
        match self.entry.map_or(0, |entry| entry.lease) {
            0 => broken("the entry is on no lease", "each put, also the one after a loss"),
            lease => Ok(lease),
        }
    }

    /// Checks that the lease of the entry was granted with the TTL that `stay` was asked for.
    async fn check_ttl(&mut self) -> Result<()> {
        let granted = self.client.lease_time_to_live(self.lease()?, None);
        let granted = within(REQUEST_TIMEOUT, granted).await.context("no TTL")?.granted_ttl();
        // 0 if etcd does not have the lease any more.
        if granted != TTL && granted > 0 {
            return broken(
                format!("the entry is on a lease of {granted} s, and it was to be {TTL} s"),
                "the TTL that your code asks for",
            );
        }
        Ok(())
    }

    /// Ends the lease of the entry.
    async fn revoke(&mut self) -> Result<()> {
        let lease = self.lease()?;
        within(REQUEST_TIMEOUT, self.client.lease_revoke(lease)).await.context("revoke failed")?;
        Ok(())
    }

    async fn put_control(&mut self, ttl: i64) -> Result<()> {
        let lease = within(REQUEST_TIMEOUT, self.client.lease_grant(ttl, None)).await?;
        let on_lease = PutOptions::new().with_lease(lease.id());
        within(REQUEST_TIMEOUT, self.client.put(CONTROL, "", Some(on_lease))).await?;
        Ok(())
    }
}
