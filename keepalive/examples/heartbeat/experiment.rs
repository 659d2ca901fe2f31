//! The experiment of the exercise `heartbeat`: the server is restarted, and the network is cut.
//!
//! Fix `yours.rs`, not this file.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use etcd_client::{Client, KeyValue};
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Etcd, Scene, Stages, Stopwatch, Symbol, Timeline, Verdict, blocking, broken,
    check_running, connect_intercepted, held, say, too_slow,
};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// The function that is tried.
pub type Stay = for<'a> fn(&'a mut Client, &'a str, i64, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const KEY: &str = "services/1";
/// A key of the experiment's, on a lease that nobody renews.
const CONTROL: &str = "control";
const TTL: i64 = 2;

/// The row of the picture that shows what the experiment does.
const NET: &str = "network";
const REGISTERED: Symbol = Symbol('█', '#', "registered");
const UNREGISTERED: Symbol = Symbol('░', '.', "not registered");
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
/// How long an answer may take to register once it can.
const REREGISTER_LIMIT: Duration = Duration::from_secs(3);
/// How long it is registered again before its new lease is revoked. By then it has renewed once.
const RENEWED: Duration = Duration::from_millis(1500);
/// How long nothing happens at first: longer than the TTL, so that it has to renew.
const UNDISTURBED: Duration = Duration::from_millis(2500);
/// How much later one renewal arrives.
const RENEWAL_DELAY: Duration = Duration::from_millis(600);
/// How long a restart may take. Then at least one renewal in a TTL arrives.
const AWAY_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer may take to go on after a fault.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long connections are refused.
const REFUSED: Duration = Duration::from_millis(700);
/// How often the experiment looks at etcd.
const LOOK: Duration = Duration::from_millis(50);

pub async fn run(scene: Scene, stay: Stay) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let link = Proxy::to(server.address())?;
    let (timeline, etcd) = (&scene.timeline, Etcd::of(&server).await?);
    timeline.note(NET, NETWORK);
    timeline.note("etcd says", UNREGISTERED);
    timeline.note("it says", UNREGISTERED);
    let (mut client, mut network) = connect_intercepted(link.address()).await?;
    network.open();
    let says = Rc::new(Cell::new(false));
    let (tell, picture) = (Rc::clone(&says), timeline.clone());
    let registered = Box::new(move |state| {
        picture.note("it says", if state { REGISTERED } else { UNREGISTERED });
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
        if renews() {
            let what = "it has asked for a renewal, but it does not say that it is registered";
            let hint = "which response your code waits for, and to which request it belongs";
            return too_slow(what, hint);
        }
        return too_slow("it does not register", "what your code does first");
    }
    service.check_ttl().await?;
    say!("the service is registered, on a lease of {TTL} s")?;

    let (created, put) =
        (service.entry(KeyValue::create_revision), service.entry(KeyValue::mod_revision));
    let grants = sent.count("LeaseGrant");
    service.watch(UNDISTURBED).await?;
    sent.check_pauses("it", 0)?;
    let hint = match renews() {
        true => "why your code gives up a lease that lives, and which responses it waits for",
        false => "what keeps a lease alive, apart from a new one",
    };
    if service.entry(KeyValue::mod_revision) != put {
        let what = "the entry was put again while nothing happened, which wakes all who watch it";
        return too_slow(what, hint);
    }
    if sent.count("LeaseGrant") > grants {
        let what = "it asked for another lease while the first one lived";
        return too_slow(what, "what each of your requests leaves behind in etcd");
    }

    let mut stages = Stages::of(5);
    service.until_sent(&link).await?;
    timeline.note(NET, LATE);
    say!("one renewal arrives {RENEWAL_DELAY:?} late")?;
    service.watch(RENEWAL_DELAY).await?;
    link.mend();
    timeline.note(NET, NETWORK);
    // By then etcd has ended a lease that was not renewed in time.
    service.watch(RECOVERY).await?;
    if service.entry(KeyValue::mod_revision) != put {
        return too_slow(
            format!("a renewal was {RENEWAL_DELAY:?} late, and the lease of {TTL} s was lost"),
            "how much of the TTL is left when your code renews",
        );
    }
    stages.pass()?;

    // Just after a renewal, so that etcd is back in time for one of the next two.
    service.until_sent(&link).await?;
    link.mend();
    service.watch(2 * LOOK).await?; // for the response
    timeline.mark(NET, RESTART);
    let (since, before) = (Instant::now(), sent.count_all());
    let _server = service.etcd.restart(server).await?;
    let away = since.elapsed();
    say!("the server is restarted; all leases start again with their full TTL")?;
    // A restarted server gives each lease its TTL and an election timeout, 1 s. So when this one
    // ends, every lease that was not renewed after the restart has ended.
    service.etcd.put_on_lease(CONTROL, "", TTL + 2).await?;
    service.watch(RECOVERY).await?;
    service.until_sent(&link).await?;
    link.disconnect();
    say!("one renewal fails, because the connection is lost")?;
    let is_over = service.until(|seen| !seen.control).await?;
    ensure!(is_over, "etcd does not end a lease that nobody renews");
    sent.check_pauses("it", before)?;
    if service.entry(KeyValue::mod_revision) != put {
        ensure!(away < AWAY_LIMIT, "the server took {away:.1?} to restart, too long for a renewal");
        let is_kept = service.entry(KeyValue::create_revision) == created;
        let what = if is_kept { "put again while its lease lived" } else { "gone for a moment" };
        return too_slow(
            format!("the entry was {what}, although the server was back in time"),
            "what a failed renewal says about the lease, and how much of its TTL is left",
        );
    }
    if !service.until(|seen| seen.says.get()).await? {
        return too_slow(
            format!("the entry is there, but for {PATIENCE:?} it has said that it is not"),
            "what your code says when it has recovered",
        );
    }
    stages.pass()?;

    link.cut();
    timeline.note(NET, CUT);
    say!("the network is cut, between the service and the server")?;
    if !service.until(|seen| seen.entry.is_none()).await? {
        return too_slow(
            format!("the network has been cut for {PATIENCE:?}, and the entry is still there"),
            "the lease that the entry is on, and its TTL",
        );
    }
    stages.pass()?;

    // Longer than any wait, so an answer that registers now, or waits for etcd, must try again.
    service.watch(CONNECT_TIMEOUT + REQUEST_TIMEOUT).await?;
    let before = sent.count_all();
    link.refuse();
    say!("the network is back, but the server refuses connections")?;
    service.watch(REFUSED).await?;
    sent.check_pauses("it", before)?;
    network.pause();
    link.mend();
    timeline.note(NET, LOSS);
    let put = timeout(REREGISTER_LIMIT, network.request_to(&["Put", "Txn"])).await;
    say!("the server accepts connections again, but the first put does not arrive")?;
    for wait in [TOLERANCE, REQUEST_TIMEOUT] {
        sleep(wait).await;
        if put.is_ok() && service.says.get() {
            let what = "it said that it was registered before etcd had carried out the put";
            return broken(what, "which response says that others find the entry");
        }
    }
    let what =
        format!("the network was back for {REREGISTER_LIMIT:?}, but it has not registered again");
    let hint = "what your code does when the lease is lost, and how long it waits between attempts";
    let again = || too_slow(&*what, hint);
    drop(put.or_else(|_| again())?);
    network.open();
    timeline.note(NET, NETWORK);
    service.patience = REREGISTER_LIMIT;
    if !service.until(Service::is_registered).await? {
        again()?;
    }
    stages.pass()?;

    service.watch(RENEWED).await?;
    // Only etcd knows that a lease was revoked, and says so in response to a renewal.
    (service.tolerance, service.patience) = (Duration::from_secs(TTL.unsigned_abs()), PATIENCE);
    let lease = service.lease()?;
    service.etcd.revoke(lease).await?;
    timeline.mark(NET, REVOKE);
    say!("somebody revokes the lease")?;
    if !service.until(Service::is_registered).await? {
        return too_slow("it has not registered again", "what your code does with each response");
    }
    service.check_ttl().await?;
    held("stayed registered through the restart, noticed each loss, registered again")
}

/// The answer that is tried, and what it says.
struct Service {
    etcd: Etcd,
    picture: Timeline,
    task: JoinHandle<Result<()>>,
    /// Whether it says that it is registered.
    says: Rc<Cell<bool>>,
    /// How long it has said so without being registered.
    wrong: Stopwatch,
    /// How long it may say so.
    tolerance: Duration,
    /// How long [`until`](Service::until) waits.
    patience: Duration,
    /// The entry in etcd, as last seen.
    entry: Option<KeyValue>,
    /// Whether the control was there then.
    control: bool,
}

impl Service {
    /// Compares what the service says with what etcd says until `done`. Returns `false` if that
    /// takes too long.
    async fn until(&mut self, done: impl Fn(&Service) -> bool) -> Result<bool> {
        let deadline = Instant::now() + self.patience;
        loop {
            self.look().await?;
            check_running(&mut self.task, "it has ended", "what ends your loops").await?;
            let wrong = self.says.get() && self.entry.is_none();
            if let Some(time) = self.wrong.too_long(wrong, self.tolerance, WRONG_LIMIT) {
                let time =
                    if time < WRONG_LIMIT { "a moment".to_owned() } else { format!("{time:.1?}") };
                let what = format!("for {time} it said that it was registered, but it was not");
                let hint = "how your code would learn that a renewal has not taken place";
                // Otherwise it needs a response of etcd, and not only its own clock.
                let knows = self.tolerance == TOLERANCE;
                return if knows { broken(what, hint) } else { too_slow(what, hint) };
            }
            let is_done = !wrong && done(self);
            if is_done || !wrong && Instant::now() > deadline {
                return Ok(is_done);
            }
            sleep(LOOK).await;
        }
    }

    /// Compares for this time.
    async fn watch(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(LOOK).await;
            self.until(|_| true).await?;
        }
        Ok(())
    }

    /// Pauses the service's requests, and waits until it has sent one, normally a renewal.
    async fn until_sent(&mut self, link: &Proxy) -> Result<()> {
        link.pause_requests();
        let since = Instant::now();
        self.until(|_| link.has_paused() || since.elapsed() > 2 * UNDISTURBED).await?;
        Ok(())
    }

    async fn look(&mut self) -> Result<()> {
        let found = self.etcd.get_all("").await?;
        let find = |key: &str| found.iter().find(|kv| kv.key() == key.as_bytes()).cloned();
        (self.entry, self.control) = (find(KEY), find(CONTROL).is_some());
        let symbol = if self.entry.is_some() { REGISTERED } else { UNREGISTERED };
        self.picture.note("etcd says", symbol);
        Ok(())
    }

    /// Returns a number of the entry, as last seen in etcd.
    fn entry(&self, number: fn(&KeyValue) -> i64) -> i64 {
        self.entry.as_ref().map_or(0, number)
    }

    fn is_registered(&self) -> bool {
        self.says.get() && self.entry.is_some()
    }

    /// Returns the lease of the entry.
    fn lease(&self) -> Result<i64> {
        match self.entry(KeyValue::lease) {
            0 => broken("the entry is not on a lease", "each put, even the one after a loss"),
            lease => Ok(lease),
        }
    }

    async fn check_ttl(&mut self) -> Result<()> {
        let lease = self.lease()?;
        self.etcd.check_ttl("the entry", lease, TTL).await
    }
}
