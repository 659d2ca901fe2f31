//! The experiment of the exercise `leader`: one leader is cut off and comes back, and others die.
//!
//! Repair `yours.rs`, not this file.

use std::io::{Write, stdout};
use std::mem::replace;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, GetOptions};
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, NOTHING, Scene, Sent, Sign, Stages, Stopwatch, Verdict, blocking, broken,
    check_running, connect_by_wire_to, connect_to, held,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout};

/// The function that is tried.
pub type Stand = for<'a> fn(&'a Client, &'a str, Duration, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const LOCK: &str = "leader";
const TTL: Duration = Duration::from_secs(2);

const LEADS: Sign = Sign('█', '#', "says that it leads");
const NOT: Sign = Sign('─', '-', "does not lead");
const CUT_LEADS: Sign = Sign('▒', '%', "says it, cut off");
const CUT_NOT: Sign = Sign('·', '.', "cut off");
const DEAD: Sign = Sign('†', 'x', "dies");

/// How long two may lead.
const TOLERANCE: Duration = Duration::from_millis(200);
/// How long the experiment watches two leaders.
const WRONG_LIMIT: Duration = Duration::from_secs(1);
/// How long the first leader leads, and then until its next renewal. A session is renewed every third of the
/// TTL, so it is cut off 1.3 s after the beginning and lost at 3.3 s. Who looks every 0.9 s sees that at 3.6 s.
const UNDISTURBED: Duration = Duration::from_secs(1);
/// When the third enters, or later: when the second is before it in the queue.
const THIRD: Duration = Duration::from_millis(500);
/// So long after a renewal the first leads again. Then it loses its session a quarter of a second sooner than
/// before, and who happened to look in time before does not now.
const SHIFT: Duration = Duration::from_millis(250);
/// How long the response to a renewal may take.
const RESPONSE: Duration = Duration::from_millis(50);
/// How long it watches a candidate that is back, while another one leads; and the last leader.
const BACK: Duration = Duration::from_secs(1);
/// So many sessions in a second, or requests, are more than a candidate needs.
const MANY_SESSIONS: usize = 20;
const MANY: usize = 100;
/// How long there may be no leader. It takes etcd a TTL and half a second to end a lease.
const PATIENCE: Duration = Duration::from_secs(6);

pub async fn run(scene: Scene, stand: Stand) -> Result<Verdict> {
    let mut all = Candidates::new(scene, stand).await?;
    let mut stages = Stages::of(3);

    all.enter("first").await?;
    let Some(one) = all.next_leader().await? else {
        let look = match all.opens_streams() {
            true => "which response your code waits for, and to which request it is the response",
            false => "what your code does first",
        };
        return no_leader("with one candidate", look);
    };
    let begin = Instant::now();
    all.check_ttl().await?;
    all.enter("second").await?;
    all.watch_until(begin + THIRD).await?;
    // A candidate that does not queue is not waited for.
    while all.queue().await? < 2 && begin.elapsed() < UNDISTURBED {
        all.watch().await?;
    }
    all.enter("third").await?;
    writeln!(stdout(), "one of three candidates leads; the TTL is {} s", TTL.as_secs())?;
    all.watch_until(begin + UNDISTURBED).await?;

    let look = "what etcd keeps of a leader that it does not hear from, and for how long";
    let renewed = all.renews(one).await?;
    all.watch_until(renewed + RESPONSE).await?;
    all.cut(one, renewed);
    writeln!(stdout(), "the network is cut, between the {one} and the server")?;
    let two = all.leader(&format!("after the {one} was cut off"), look).await?;
    stages.pass()?;

    // Longer than opening a session may take: a candidate that opens one meanwhile must retry.
    all.watch_pauses(TTL + REQUEST_TIMEOUT * 2).await?;
    all.mend(one);
    all.watch_until(Instant::now() + BACK).await?;
    all.kill(two).await;
    writeln!(stdout(), "the {one} has its network back, and the {two} dies")?;
    let three = all.leader(&format!("after the {two} died"), look).await?;
    stages.pass()?;

    // Of those that do not queue, the first may lead already.
    let next = all.names().find(|name| *name != three).context("nobody is left")?;
    let renewed = all.renews(next).await?;
    all.watch_until(renewed + SHIFT).await?;
    all.end(three).await;
    writeln!(stdout(), "the {three} ends")?;
    let look = "what your code does when it has lost the lead";
    all.leader(&format!("with the {next}, which was cut off and is back"), look).await?;
    all.renews(next).await?;
    let renewed = all.renews(next).await?;
    all.watch_until(renewed + RESPONSE).await?;
    all.cut(next, renewed);
    writeln!(stdout(), "the network is cut again, between the {next} and the server")?;
    all.stops_in_time().await?;
    stages.pass()?;
    held("there was always another leader, and never two at once")
}

/// The candidates that are alive.
struct Candidates {
    scene: Scene,
    stand: Stand,
    server: Server,
    client: Client,
    candidates: Vec<Candidate>,
    /// The networks of those that have ended.
    dead: Vec<Proxy>,
    /// Who says what: whether it leads.
    tell: UnboundedSender<(&'static str, bool)>,
    told: UnboundedReceiver<(&'static str, bool)>,
    /// For how long two say that they lead.
    two: Stopwatch,
    /// Whether one of the last two was cut off.
    late: bool,
}

struct Candidate {
    name: &'static str,
    link: Proxy,
    task: JoinHandle<Result<()>>,
    sent: Sent,
    /// Whether it says that it leads.
    leads: bool,
    is_cut: bool,
    /// When it sent its last renewal before it was cut off, if it has not yet said since then that it does
    /// not lead.
    renewed: Option<Instant>,
}

impl Candidates {
    async fn new(scene: Scene, stand: Stand) -> Result<Candidates> {
        let server = blocking(Server::start).await?;
        let client = connect_to(server.address()).await?;
        let (tell, told) = unbounded_channel();
        let (candidates, dead, two) = (Vec::new(), Vec::new(), Stopwatch::default());
        Ok(Candidates {
            scene,
            stand,
            server,
            client,
            candidates,
            dead,
            tell,
            told,
            two,
            late: false,
        })
    }

    /// Starts another candidate, on a network of its own.
    async fn enter(&mut self, name: &'static str) -> Result<()> {
        let link = Proxy::to(self.server.address())?;
        let (client, mut wire) = connect_by_wire_to(link.address()).await?;
        wire.open();
        let (stand, sent) = (self.stand, wire.sent());
        let tell = self.tell.clone();
        let leads = Box::new(move |leads| {
            let _ = tell.send((name, leads)); // nobody listens any more when the experiment is over
        });
        let task = spawn_local(async move { stand(&client, LOCK, TTL, leads).await });
        let one = Candidate { name, link, task, sent, leads: false, is_cut: false, renewed: None };
        self.candidates.push(one);
        self.scene.timeline.note(name, NOT);
        Ok(())
    }

    /// Ends a candidate as `kill -9` does: it sends nothing any more, not even that it ends.
    async fn kill(&mut self, name: &str) {
        self.candidates.iter().filter(|one| one.name == name).for_each(|one| one.link.cut());
        self.scene.timeline.mark(name, DEAD);
        self.end(name).await;
    }

    /// Ends a candidate that still has its network: its guard unlocks.
    async fn end(&mut self, name: &str) {
        self.scene.timeline.note(name, NOTHING);
        for one in self.candidates.extract_if(.., |one| one.name == name) {
            one.task.abort();
            let _ = one.task.await; // that it was aborted
            self.dead.push(one.link);
        }
    }

    /// Waits until a candidate sends a renewal. Returns when. On a stream of its own renewals cannot be seen:
    /// then it is after the time in which one must have been sent.
    async fn renews(&mut self, name: &str) -> Result<Instant> {
        let sent = self.candidates.iter().find(|one| one.name == name).map(|one| one.sent.clone());
        let renewals = || sent.as_ref().map(|sent| sent.count("LeaseKeepAlive"));
        let (before, deadline) = (renewals(), Instant::now() + TTL / 2);
        while renewals() == before && Instant::now() < deadline {
            self.watch().await?;
        }
        Ok(Instant::now())
    }

    /// Cuts off a candidate that has sent its last renewal at this moment.
    fn cut(&mut self, name: &str, renewed: Instant) {
        for one in self.candidates.iter_mut().filter(|one| one.name == name) {
            one.link.cut();
            (one.is_cut, one.renewed) = (true, Some(renewed));
            one.draw(&self.scene);
        }
    }

    fn mend(&mut self, name: &str) {
        for one in self.candidates.iter_mut().filter(|one| one.name == name) {
            one.link.mend();
            one.is_cut = false;
            one.draw(&self.scene);
        }
    }

    /// Waits until there is exactly one leader, and it is not cut off. Returns its name.
    async fn leader(&mut self, when: &str, look: &'static str) -> Result<&'static str> {
        match self.next_leader().await? {
            Some(name) => Ok(name),
            None => no_leader(when, look),
        }
    }

    /// Waits as [`leader`](Candidates::leader) does. Returns `None` if that takes too long.
    async fn next_leader(&mut self) -> Result<Option<&'static str>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.watch().await?;
            let leaders: Vec<_> = self.leaders().collect();
            match leaders[..] {
                [one] if !one.is_cut => return Ok(Some(one.name)),
                [] | [_] if Instant::now() > deadline => return Ok(None),
                _ => {}
            }
        }
    }

    /// Whether one has opened a stream of renewals for each lease. A session opens one for each renewal.
    fn opens_streams(&self) -> bool {
        self.candidates.iter().any(|one| {
            let streams = one.sent.count("LeaseKeepAlive");
            streams > 0 && streams <= one.sent.count("LeaseGrant")
        })
    }

    /// Returns how many have the lock or wait for it.
    async fn queue(&mut self) -> Result<i64> {
        let count = GetOptions::new().with_prefix().with_count_only();
        let queue = self.client.get(format!("{LOCK}/"), Some(count));
        Ok(within(REQUEST_TIMEOUT, queue).await.context("get failed")?.count())
    }

    /// Checks that what the one candidate has in etcd is on leases with the TTL that `stand` was asked for.
    async fn check_ttl(&mut self) -> Result<()> {
        let found = self.client.get(format!("{LOCK}/"), Some(GetOptions::new().with_prefix()));
        let found = within(REQUEST_TIMEOUT, found).await.context("get failed")?;
        for kv in found.kvs() {
            let granted = self.client.lease_time_to_live(kv.lease(), None);
            let granted = within(REQUEST_TIMEOUT, granted).await.context("no TTL")?.granted_ttl();
            // 0 if etcd does not have the lease any more.
            let asked = TTL.as_secs() as i64;
            if granted > 0 && granted != asked {
                return broken(
                    format!("the leader has a lease of {granted} s, and it was to be {asked} s"),
                    "the TTL that your code asks for",
                );
            }
        }
        Ok(())
    }

    /// Waits until none of those that are cut off says that it leads.
    async fn stops_in_time(&mut self) -> Result<()> {
        let deadline = Instant::now() + TTL + WRONG_LIMIT;
        while self.leaders().any(|one| one.is_cut) && Instant::now() < deadline {
            self.watch().await?;
        }
        let mut late = self.candidates.iter_mut().filter(|one| one.is_cut && one.leads);
        late.try_for_each(Candidate::stops)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.candidates.iter().map(|one| one.name)
    }

    fn leaders(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|one| one.leads)
    }

    async fn watch_until(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.watch().await?;
        }
        Ok(())
    }

    /// Watches for so long. Returns *broken* if one that has its network asks etcd without a pause.
    async fn watch_pauses(&mut self, time: Duration) -> Result<()> {
        let counts = |one: &Candidate| [one.sent.count("LeaseGrant"), one.sent.count_all()];
        let before: Vec<_> = self.candidates.iter().map(counts).collect();
        self.watch_until(Instant::now() + time).await?;
        let limits = [MANY_SESSIONS, MANY].map(|many| many * time.as_secs() as usize);
        for (one, before) in self.candidates.iter().zip(before) {
            let too_many = |index| counts(one)[index] - before[index] > limits[index];
            let many = match one.is_cut {
                false if too_many(0) => format!("opens more than {MANY_SESSIONS} sessions"),
                false if too_many(1) => format!("sends more than {MANY} requests"),
                _ => continue,
            };
            return broken(
                format!("a candidate {many} in a second, while another one leads"),
                "how long your code waits between two attempts",
            );
        }
        Ok(())
    }

    /// Waits for a moment, or until a candidate says something, and judges what is so then.
    async fn watch(&mut self) -> Result<()> {
        if let Ok(Some((name, leads))) = timeout(TOLERANCE / 10, self.told.recv()).await {
            for one in self.candidates.iter_mut().filter(|one| one.name == name) {
                let led = replace(&mut one.leads, leads);
                one.draw(&self.scene);
                if led && !leads {
                    one.stops()?;
                }
            }
        }
        for one in &mut self.candidates {
            let what = format!("the {} has come to an end", one.name);
            check_running(&mut one.task, &what, "what ends your code").await?;
        }
        let cut: Vec<bool> = self.leaders().map(|one| one.renewed.is_some()).collect();
        let two = cut.len() > 1;
        if two {
            self.late = cut.contains(&true);
        }
        if let Some(time) = self.two.too_long(two, TOLERANCE, WRONG_LIMIT) {
            let look = match self.late {
                true => "how a leader would learn that it is not the leader any more",
                false => "how a candidate would learn that another one was faster",
            };
            let time = if time < WRONG_LIMIT { "a moment" } else { "a second" };
            return broken(format!("for {time} there were two leaders at once"), look);
        }
        Ok(())
    }
}

fn no_leader<T>(when: &str, look: &'static str) -> Result<T> {
    broken(format!("{when}, there was no new leader for {PATIENCE:?}"), look)
}

impl Candidate {
    /// Judges a leader that says that it does not lead any more.
    fn stops(&mut self) -> Result<()> {
        match self.renewed.take() {
            Some(renewed) if renewed.elapsed() > TTL + TOLERANCE => broken(
                format!(
                    "the {} was cut off, and said for {:.1} s after the loss of its session that it led",
                    self.name,
                    (renewed.elapsed() - TTL).as_secs_f64()
                ),
                "what your code does between the loss of the session and leads(false)",
            ),
            None if !self.is_cut => broken(
                format!("the {} has stopped leading, and nothing had happened", self.name),
                "how long your code keeps the lock",
            ),
            _ => Ok(()),
        }
    }

    fn draw(&self, scene: &Scene) {
        let sign = match (self.leads, self.is_cut) {
            (true, false) => LEADS,
            (false, false) => NOT,
            (true, true) => CUT_LEADS,
            (false, true) => CUT_NOT,
        };
        scene.timeline.note(self.name, sign);
    }
}
