//! The experiment of the exercise `leader`: one leader is cut off and comes back, and others die.
//!
//! Repair `yours.rs`, not this file.

use std::mem::replace;
use std::time::Duration;

use anyhow::{Context, Result};
use common::REQUEST_TIMEOUT;
use etcd_client::Client;
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Etcd, NOTHING, RequestLog, Scene, Stages, Stopwatch, Symbol, Timeline, Verdict,
    blocking, broken, check_running, connect_intercepted, held, say,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout};

/// The function that is tried.
pub type Stand = for<'a> fn(&'a Client, &'a str, Duration, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const LOCK: &str = "leader";
/// Those who have the lock or wait for it.
const QUEUE: &str = "leader/";
const TTL: Duration = Duration::from_secs(2);

const LEADS: Symbol = Symbol('█', '#', "says that it leads");
const NOT: Symbol = Symbol('─', '-', "does not lead");
const CUT_LEADS: Symbol = Symbol('▒', '%', "says it, cut off");
const CUT_NOT: Symbol = Symbol('·', '.', "cut off");
const DEAD: Symbol = Symbol('†', 'x', "dies");

/// How long two may lead.
const TOLERANCE: Duration = Duration::from_millis(200);
/// How long the experiment watches two leaders.
const WRONG_LIMIT: Duration = Duration::from_secs(1);
/// How long the first leads, and then until a renewal, which comes every third of the TTL: it is
/// cut off at 1.3 s, and its session is lost at 3.3 s. Who looks every 0.9 s sees that at 3.6 s.
const UNDISTURBED: Duration = Duration::from_secs(1);
/// When the third enters, or later: when the second is before it in the queue.
const THIRD: Duration = Duration::from_millis(500);
/// So long after a renewal the first leads again. It loses its session a quarter of a second sooner
/// than before then: who happened to look in time before does not now.
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
    let server = blocking(Server::start).await?;
    let (etcd, timeline, (tell, told)) =
        (Etcd::of(&server).await?, scene.timeline, unbounded_channel());
    let (alive, two, late) = (Vec::new(), Stopwatch::default(), false);
    let mut all = Candidates { timeline, stand, server, etcd, alive, tell, told, two, late };
    let mut stages = Stages::of(3);

    let sent = all.enter("first").await?;
    // A session opens a stream for each renewal.
    let look = || match (1..=sent.count("LeaseGrant")).contains(&sent.count("LeaseKeepAlive")) {
        true => "which response your code waits for, and to which request it is the response",
        false => "what your code does first",
    };
    let one = all.leader("with one candidate", look).await?;
    let begin = Instant::now();
    for kv in all.etcd.get_all(QUEUE).await? {
        all.etcd.check_ttl("the leader has a lease", kv.lease(), TTL.as_secs() as i64).await?;
    }
    all.enter("second").await?;
    all.watch_until(begin + THIRD).await?;
    // A candidate that does not queue is not waited for.
    while all.etcd.get_all(QUEUE).await?.len() < 2 && begin.elapsed() < UNDISTURBED {
        all.watch().await?;
    }
    all.enter("third").await?;
    say!("one of three candidates leads; the TTL is {} s", TTL.as_secs())?;
    all.watch_until(begin + UNDISTURBED).await?;

    let look = || "what etcd keeps of a leader that it does not hear from, and for how long";
    all.cut(one).await?;
    say!("the network is cut, between the {one} and the server")?;
    let two = all.leader(&format!("after the {one} was cut off"), look).await?;
    stages.pass()?;

    // Longer than opening a session may take: a candidate that opens one meanwhile must retry.
    all.watch_pauses(TTL + REQUEST_TIMEOUT * 2).await?;
    all.find(one)?.mend();
    all.watch_until(Instant::now() + BACK).await?;
    // As `kill -9` does: it sends nothing any more, not even that it ends.
    all.find(two)?.link.cut();
    all.timeline.mark(two, DEAD);
    all.end(two).await;
    say!("the {one} has its network back, and the {two} dies")?;
    let three = all.leader(&format!("after the {two} died"), look).await?;
    stages.pass()?;

    // Of those that do not queue, the first may lead already.
    let next = all.alive.iter().find(|one| one.name != three).context("nobody is left")?.name;
    let renewed = all.renews(next).await?;
    all.watch_until(renewed + SHIFT).await?;
    all.end(three).await;
    say!("the {three} ends")?;
    let look = || "what your code does when it has lost the lead";
    all.leader(&format!("with the {next}, which was cut off and is back"), look).await?;
    all.renews(next).await?;
    all.cut(next).await?;
    say!("the network is cut again, between the {next} and the server")?;
    let deadline = Instant::now() + TTL + WRONG_LIMIT;
    while all.find(next)?.leads && Instant::now() < deadline {
        all.watch().await?;
    }
    all.find(next)?.stops()?;
    stages.pass()?;
    held("there was always another leader, and never two at once")
}

/// The candidates, and what they have said.
struct Candidates {
    timeline: Timeline,
    stand: Stand,
    server: Server,
    etcd: Etcd,
    alive: Vec<Candidate>,
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
    timeline: Timeline,
    link: Proxy,
    task: JoinHandle<Result<()>>,
    sent: RequestLog,
    /// Whether it says that it leads.
    leads: bool,
    is_cut: bool,
    /// When it sent its last renewal before it was cut off, if it has not yet said since then that
    /// it does not lead.
    renewed: Option<Instant>,
}

impl Candidates {
    /// Starts another candidate, on a network of its own. Returns what it sends.
    async fn enter(&mut self, name: &'static str) -> Result<RequestLog> {
        let link = Proxy::to(self.server.address())?;
        let (client, mut network) = connect_intercepted(link.address()).await?;
        network.open();
        let (stand, sent, tell) = (self.stand, network.sent(), self.tell.clone());
        let leads = Box::new(move |leads| {
            let _ = tell.send((name, leads)); // nobody listens any more when the experiment is over
        });
        let task = spawn_local(async move { stand(&client, LOCK, TTL, leads).await });
        let (timeline, leads, is_cut, renewed) = (self.timeline.clone(), false, false, None);
        let one = Candidate { name, timeline, link, task, sent, leads, is_cut, renewed };
        one.draw();
        let sent = one.sent.clone();
        self.alive.push(one);
        Ok(sent)
    }

    fn find(&mut self, name: &str) -> Result<&mut Candidate> {
        self.alive.iter_mut().find(|one| one.name == name).context("it has ended")
    }

    /// Ends a candidate. If it still has its network, its guard unlocks.
    async fn end(&mut self, name: &str) {
        self.timeline.note(name, NOTHING);
        for one in self.alive.extract_if(.., |one| one.name == name) {
            one.task.abort();
            let _ = one.task.await; // that it was aborted
        }
    }

    /// Waits until a candidate sends a renewal. Returns when. Those on an open stream are not seen:
    /// then it is after the time in which one must have been sent.
    async fn renews(&mut self, name: &str) -> Result<Instant> {
        let sent = self.find(name)?.sent.clone();
        let (before, deadline) = (sent.count("LeaseKeepAlive"), Instant::now() + TTL / 2);
        while sent.count("LeaseKeepAlive") == before && Instant::now() < deadline {
            self.watch().await?;
        }
        Ok(Instant::now())
    }

    /// Cuts off a candidate when it has the response to a renewal.
    async fn cut(&mut self, name: &str) -> Result<()> {
        let renewed = self.renews(name).await?;
        self.watch_until(renewed + RESPONSE).await?;
        let one = self.find(name)?;
        one.link.cut();
        (one.is_cut, one.renewed) = (true, Some(renewed));
        one.draw();
        Ok(())
    }

    /// Waits until there is exactly one leader, and it is not cut off. Returns its name.
    async fn leader(
        &mut self,
        when: &str,
        look: impl Fn() -> &'static str,
    ) -> Result<&'static str> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.watch().await?;
            let leaders: Vec<_> = self.alive.iter().filter(|one| one.leads).collect();
            match leaders[..] {
                [one] if !one.is_cut => return Ok(one.name),
                [] | [_] if Instant::now() > deadline => {
                    let what = format!("{when}, there was no new leader for {PATIENCE:?}");
                    return broken(what, look());
                }
                _ => {}
            }
        }
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
        let before: Vec<_> = self.alive.iter().map(counts).collect();
        self.watch_until(Instant::now() + time).await?;
        let limits = [MANY_SESSIONS, MANY].map(|many| many * time.as_secs() as usize);
        for (one, before) in self.alive.iter().zip(before) {
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
        if let Ok(Some((name, leads))) = timeout(TOLERANCE / 10, self.told.recv()).await
            && let Ok(one) = self.find(name)
        {
            let led = replace(&mut one.leads, leads);
            one.draw();
            if led && !leads {
                one.stops()?;
            }
        }
        for one in &mut self.alive {
            let what = format!("the {} has come to an end", one.name);
            check_running(&mut one.task, &what, "what ends your code").await?;
        }
        let leaders: Vec<_> = self.alive.iter().filter(|one| one.leads).collect();
        if leaders.len() > 1 {
            self.late = leaders.iter().any(|one| one.renewed.is_some());
        }
        if let Some(time) = self.two.too_long(leaders.len() > 1, TOLERANCE, WRONG_LIMIT) {
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

    fn mend(&mut self) {
        self.link.mend();
        self.is_cut = false;
        self.draw();
    }

    fn draw(&self) {
        let signs = if self.is_cut { [CUT_NOT, CUT_LEADS] } else { [NOT, LEADS] };
        self.timeline.note(self.name, signs[usize::from(self.leads)]);
    }
}
