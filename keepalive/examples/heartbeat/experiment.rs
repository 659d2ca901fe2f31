//! The experiment of the exercise `heartbeat`: the server is restarted, and the network is cut.
//!
//! Repair `yours.rs`, not this file.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use etcd_client::{Client, KeyValue};
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Etcd, Scene, Stages, Stopwatch, Symbol, Timeline, Verdict, blocking, broken,
    check_running, connect_intercepted, held, say,
};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// The function that is tried.
pub type Stay = for<'a> fn(&'a mut Client, &'a str, i64, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const KEY: &str = "services/1";
/// What the experiment does.
const NET: &str = "network";
const CONTROL: &str = "control";
const TTL: i64 = 2;

const IS: Symbol = Symbol('█', '#', "registered");
const IS_NOT: Symbol = Symbol('░', '.', "not registered");
const NETWORK: Symbol = Symbol('─', '-', "network");
const LATE: Symbol = Symbol('≈', '=', "a renewal is late");
const RESTART: Symbol = Symbol('▲', '^', "the server is restarted");
const CUT: Symbol = Symbol('╳', 'x', "no network");
const LOSS: Symbol = Symbol('┄', '~', "a put does not arrive");
const REVOKE: Symbol = Symbol('▼', 'v', "the lease is revoked");

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
    let server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let (timeline, etcd) = (&scene.timeline, Etcd::of(&server).await?);
    timeline.note(NET, NETWORK);
    timeline.note("etcd says", IS_NOT);
    timeline.note("it says", IS_NOT);
    let (mut client, mut network) = connect_intercepted(link.address()).await?;
    network.open();
    let says = Rc::new(Cell::new(false));
    let (tell, picture) = (Rc::clone(&says), timeline.clone());
    let registered = Box::new(move |state| {
        picture.note("it says", if state { IS } else { IS_NOT });
        tell.set(state);
    });
    let task = spawn_local(async move { stay(&mut client, KEY, TTL, registered).await });
    let (wrong, tolerance, patience) = (Stopwatch::default(), TOLERANCE, PATIENCE);
    let picture = timeline.clone();
    let (entry, control) = (None, false);
    let mut service =
        Service { etcd, picture, task, says, wrong, tolerance, patience, entry, control };

    let sent = network.sent();
    let renews = || sent.count("LeaseKeepAlive") > 0;
    if !service.until(Service::is_registered).await? {
        return match renews() {
            true => broken(
                "it has asked for a renewal, and it does not say that it is registered",
                "which response your code waits for, and to which request it is the response",
            ),
            false => broken("it does not register", "what your code does first"),
        };
    }
    service.check_ttl().await?;
    say!("the service is registered, on a lease of {TTL} s")?;

    // Nothing happens for so long that each lease has to be renewed.
    let (created, put) =
        (service.entry(KeyValue::create_revision), service.entry(KeyValue::mod_revision));
    let grants = sent.count("LeaseGrant");
    service.watch(UNDISTURBED).await?;
    let look = match renews() {
        true => "why your code gives up a lease that lives, and which responses it waits for",
        false => "what keeps a lease alive, apart from a new one",
    };
    if service.entry(KeyValue::mod_revision) != put {
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
    service.until(|_| link.has_paused() || waited.elapsed() > 2 * UNDISTURBED).await?;
    timeline.note(NET, LATE);
    say!("one renewal arrives {LATER:?} late")?;
    service.watch(LATER).await?;
    link.mend();
    timeline.note(NET, NETWORK);
    // Then etcd has ended what was not renewed in time.
    service.watch(RECOVERY).await?;
    if service.entry(KeyValue::mod_revision) != put {
        return broken(
            format!("a renewal was {LATER:?} late, and the lease of {TTL} s was lost"),
            "how much of the TTL is left when your code renews",
        );
    }
    stages.pass()?;

    timeline.mark(NET, RESTART);
    let _server = service.etcd.restart(server).await?;
    say!("the server is restarted; all leases start again with their full TTL")?;
    // A restarted server gives each lease its TTL and an election timeout, 1 s. So when
    // this one has ended, all that were not renewed after the restart have ended too.
    service.etcd.put_on_lease(CONTROL, "", TTL + 2).await?;
    service.watch(RECOVERY).await?;
    let (since, puts) = (Instant::now(), service.entry(KeyValue::version));
    let renewals = sent.count("LeaseKeepAlive");
    let is_over = service.until(|seen| !seen.control).await?;
    ensure!(is_over, "etcd does not end a lease that nobody renews");
    let renewals = sent.count("LeaseKeepAlive") - renewals;
    if service.entry(KeyValue::create_revision) != created {
        return broken(
            "the entry was gone for a moment, and the server had been back in time",
            "how your code goes on when the stream of renewals has ended",
        );
    }
    if service.entry(KeyValue::version) > puts + 1 {
        return broken("the entry was put again and again, which wakes all that watch it", look);
    }
    if renewals as u64 > MANY * (1 + since.elapsed().as_secs()) {
        return broken(
            format!("it opens more than {MANY} streams of renewals in a second"),
            "how often a lease needs a renewal, and how long your code waits between two",
        );
    }
    if !service.until(|seen| seen.says.get()).await? {
        return broken(
            format!("the entry is there, and for {PATIENCE:?} it has said that it is not"),
            "what your code says when it has recovered",
        );
    }
    stages.pass()?;

    link.cut();
    timeline.note(NET, CUT);
    say!("the network is cut, between the service and the server")?;
    if !service.until(|seen| seen.entry.is_none()).await? {
        return broken(
            format!("the network has been cut for {PATIENCE:?}, and the entry is still there"),
            "the lease that the entry is on, and its TTL",
        );
    }
    stages.pass()?;

    // Longer than any wait may take: who registers meanwhile, or waits for etcd, must retry.
    service.watch(CONNECT_TIMEOUT + REQUEST_TIMEOUT * 3 / 2).await?;
    network.pause();
    link.mend();
    timeline.note(NET, LOSS);
    let put = timeout(AGAIN, network.request_to(&["Put", "Txn"])).await;
    say!("the network is back, but the first put does not arrive")?;
    for wait in [TOLERANCE, REQUEST_TIMEOUT] {
        sleep(wait).await;
        if put.is_ok() && service.says.get() {
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
    drop(put.or_else(|_| again())?);
    network.open();
    timeline.note(NET, NETWORK);
    service.patience = AGAIN;
    if !service.until(Service::is_registered).await? {
        again()?;
    }
    stages.pass()?;

    // It has renewed by then: on an open stream the next response has a TTL of 0, and a new stream
    // is refused.
    service.watch(AGAIN_RENEWED).await?;
    // Only etcd can know this, and tells it when it is asked for a renewal.
    (service.tolerance, service.patience) = (Duration::from_secs(TTL.unsigned_abs()), PATIENCE);
    let lease = service.lease()?;
    service.etcd.revoke(lease).await?;
    timeline.mark(NET, REVOKE);
    say!("somebody revokes the lease")?;
    if !service.until(Service::is_registered).await? {
        return broken("it is not registered again", "what your code does with each response");
    }
    service.check_ttl().await?;
    held("registered over a restart; not registered, and knew it; registered again")
}

/// The answer that is tried, and what it says.
struct Service {
    etcd: Etcd,
    picture: Timeline,
    task: JoinHandle<Result<()>>,
    /// Whether it says that it is registered.
    says: Rc<Cell<bool>>,
    /// For how long it says so, and is not registered.
    wrong: Stopwatch,
    /// For how long it may say so.
    tolerance: Duration,
    /// How long it may take until what has to be so is seen.
    patience: Duration,
    /// The entry, as etcd has said last.
    entry: Option<KeyValue>,
    /// Whether the control was there then.
    control: bool,
}

impl Service {
    /// Compares what the service says with what etcd says, until this is seen. Returns `false` if
    /// that takes too long.
    async fn until(&mut self, done: impl Fn(&Service) -> bool) -> Result<bool> {
        let deadline = Instant::now() + self.patience;
        loop {
            self.look().await?;
            check_running(&mut self.task, "it has come to an end", "what ends your loops").await?;
            let wrong = self.says.get() && self.entry.is_none();
            if let Some(time) = self.wrong.too_long(wrong, self.tolerance, WRONG_LIMIT) {
                let time =
                    if time < WRONG_LIMIT { "a moment".to_owned() } else { format!("{time:.1?}") };
                let what = "it said that it was registered, and etcd said that it was not";
                return broken(
                    format!("for {time} {what}"),
                    "how your code would learn that a renewal has not taken place",
                );
            }
            let is_done = !wrong && done(self);
            if is_done || !wrong && Instant::now() > deadline {
                return Ok(is_done);
            }
            sleep(LOOK).await;
        }
    }

    /// Compares for so long.
    async fn watch(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(LOOK).await;
            self.until(|_| true).await?;
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<()> {
        let found = self.etcd.get_all("").await?;
        let find = |key: &str| found.iter().find(|kv| kv.key() == key.as_bytes()).cloned();
        (self.entry, self.control) = (find(KEY), find(CONTROL).is_some());
        self.picture.note("etcd says", if self.entry.is_some() { IS } else { IS_NOT });
        Ok(())
    }

    /// Returns a number of the entry, as etcd has said last.
    fn entry(&self, number: fn(&KeyValue) -> i64) -> i64 {
        self.entry.as_ref().map_or(0, number)
    }

    fn is_registered(&self) -> bool {
        self.says.get() && self.entry.is_some()
    }

    /// Returns the lease of the entry.
    fn lease(&self) -> Result<i64> {
        match self.entry(KeyValue::lease) {
            0 => broken("the entry is on no lease", "each put, also the one after a loss"),
            lease => Ok(lease),
        }
    }

    /// Checks that the lease of the entry was granted with the TTL that `stay` was asked for.
    async fn check_ttl(&mut self) -> Result<()> {
        let lease = self.lease()?;
        self.etcd.check_ttl("the entry is on a lease", lease, TTL).await
    }
}
