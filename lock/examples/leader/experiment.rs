//! The experiment of the exercise `leader`: one leader is cut off and comes back, and others die.
//!
//! Fix `yours.rs`, not this file.

use std::mem::replace;
use std::time::Duration;

use anyhow::{Context, Result};
use common::REQUEST_TIMEOUT;
use etcd_client::Client;
use etcd_server::{Proxy, Server};
use exercise::{
    BoxFuture, Etcd, NOTHING, RequestLog, Scene, Stages, Stopwatch, Symbol, Timeline, Verdict,
    blocking, broken, check_running, connect_intercepted, held, say, too_slow,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout};

/// The function that is tried.
pub type Stand = for<'a> fn(&'a Client, &'a str, Duration, Box<dyn Fn(bool)>) -> BoxFuture<'a, ()>;

const LOCK: &str = "leader";
/// The prefix of the keys that hold the lock or wait for it.
const QUEUE: &str = "leader/";
const TTL: Duration = Duration::from_secs(2);

const LEADS: Symbol = Symbol('█', '#', "says that it leads");
const NOT_LEADING: Symbol = Symbol('─', '-', "does not lead");
const LEADS_CUT_OFF: Symbol = Symbol('▒', '%', "still says so, but is cut off");
const CUT_OFF: Symbol = Symbol('·', '.', "cut off");
const DEAD: Symbol = Symbol('†', 'x', "dies");

/// How long two candidates may say that they lead, and a leader after the loss of its session.
const TOLERANCE: Duration = Duration::from_millis(200);
/// How long the experiment watches two leaders.
const WRONG_LIMIT: Duration = Duration::from_secs(1);
/// How long the first leads before the experiment waits for its next renewal. That one is sent at
/// 1.3 s, so its session is lost at 3.3 s. A check every 0.9 s notices that at 3.6 s, too late.
const UNDISTURBED: Duration = Duration::from_secs(1);
/// When the third candidate enters: by then the second is ahead of it in the queue.
const THIRD: Duration = Duration::from_millis(500);
/// How long after a renewal the first leads again: its session is lost a quarter of a second sooner
/// than the last time. So a check that was in time by luck then is late now.
const SHIFT: Duration = Duration::from_millis(250);
/// How long the response to a renewal may take.
const RESPONSE: Duration = Duration::from_millis(50);
/// How long the experiment watches a candidate that is back, while another candidate leads.
const BACK: Duration = Duration::from_secs(1);
/// How long a candidate's connections are refused.
const REFUSED: Duration = Duration::from_millis(700);
/// How long nobody may lead. etcd needs a TTL and half a second to end a lease.
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
    let hint = || match (1..=sent.count("LeaseGrant")).contains(&sent.count("LeaseKeepAlive")) {
        true => "which response your code waits for, and to which request it is the response",
        false => "what your code does first",
    };
    let one = all.leader("with one candidate", hint).await?;
    let begin = Instant::now();
    for kv in all.etcd.get_all(QUEUE).await? {
        all.etcd.check_ttl("the leader", kv.lease(), TTL.as_secs() as i64).await?;
    }
    all.enter("second").await?;
    all.watch_until(begin + THIRD).await?;
    // Some answers do not queue, so this does not wait for long.
    while all.etcd.get_all(QUEUE).await?.len() < 2 && begin.elapsed() < UNDISTURBED {
        all.watch().await?;
    }
    all.enter("third").await?;
    say!("one of three candidates leads; the TTL is {} s", TTL.as_secs())?;
    all.watch_until(begin + UNDISTURBED).await?;

    let hint = || "what etcd keeps of a leader that it does not hear from, and for how long";
    all.cut(one).await?;
    say!("the network is cut, between the {one} and the server")?;
    let two = all.leader(&format!("after the {one} was cut off"), hint).await?;
    stages.pass()?;

    // Longer than it takes to open a session, so a candidate that opens one now must try again.
    all.watch_pauses(TTL + REQUEST_TIMEOUT * 2).await?;
    all.find(one)?.link.refuse();
    say!("the network is back, but the server refuses the {one}'s connections")?;
    all.watch_pauses(REFUSED).await?;
    let back = all.find(one)?;
    back.link.mend();
    back.is_cut = false;
    back.draw();
    all.watch_until(Instant::now() + BACK).await?;
    // Like `kill -9`: it sends nothing more, so etcd does not learn that it has ended.
    all.find(two)?.link.cut();
    all.timeline.mark(two, DEAD);
    all.end(two).await;
    say!("the {one} can connect again, and the {two} dies")?;
    let three = all.leader(&format!("after the {two} died"), hint).await?;
    stages.pass()?;

    // If the candidates do not queue, the first may lead already.
    let next = all.alive.iter().find(|one| one.name != three).context("nobody is left")?.name;
    let renewed = all.renews(next).await?;
    all.watch_until(renewed + SHIFT).await?;
    all.end(three).await;
    say!("the {three} ends")?;
    let hint = || "what your code does when it has lost the lead";
    all.leader(&format!("with the {next}, which was cut off and is back"), hint).await?;
    all.renews(next).await?;
    all.cut(next).await?;
    say!("the network is cut again, between the {next} and the server")?;
    let deadline = Instant::now() + TTL + WRONG_LIMIT;
    while all.find(next)?.leads && Instant::now() < deadline {
        all.watch().await?;
    }
    all.find(next)?.check_overdue(false)?; // it may still lead
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
    /// A candidate's name, and whether it says that it leads.
    tell: UnboundedSender<(&'static str, bool)>,
    told: UnboundedReceiver<(&'static str, bool)>,
    /// How long two candidates have said that they lead.
    two: Stopwatch,
    /// Whether one of the last two leaders was cut off.
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
    /// When it sent its last renewal before it was cut off, until it says that it no longer leads.
    renewed: Option<Instant>,
    /// How long it has said that it leads since its session was lost.
    overdue: Stopwatch,
}

impl Candidates {
    /// Starts another candidate, on a network of its own. Returns the log of its requests.
    async fn enter(&mut self, name: &'static str) -> Result<RequestLog> {
        let link = Proxy::to(self.server.address())?;
        let (client, mut network) = connect_intercepted(link.address()).await?;
        network.open();
        let (stand, sent, tell) = (self.stand, network.sent(), self.tell.clone());
        let leads = Box::new(move |leads| {
            let _ = tell.send((name, leads)); // fails only when the experiment is over
        });
        let task = spawn_local(async move { stand(&client, LOCK, TTL, leads).await });
        let (timeline, leads, is_cut, renewed) = (self.timeline.clone(), false, false, None);
        let overdue = Stopwatch::default();
        let one = Candidate { name, timeline, link, task, sent, leads, is_cut, renewed, overdue };
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
            let _ = one.task.await; // the error only says that it was aborted
        }
    }

    /// Waits until a candidate sends a renewal, and returns when. A renewal on an open stream can't
    /// be seen: then this waits until one must have been sent.
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
        hint: impl Fn() -> &'static str,
    ) -> Result<&'static str> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.watch().await?;
            let leaders: Vec<_> = self.alive.iter().filter(|one| one.leads).collect();
            match leaders[..] {
                [one] if !one.is_cut => return Ok(one.name),
                [] | [_] if Instant::now() > deadline => {
                    let what = format!("{when}, there was no new leader for {PATIENCE:?}");
                    return too_slow(what, hint());
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

    /// Watches for this time. Returns *broken* if a candidate sends its requests without pauses.
    async fn watch_pauses(&mut self, time: Duration) -> Result<()> {
        let before: Vec<_> = self.alive.iter().map(|one| one.sent.count_all()).collect();
        self.watch_until(Instant::now() + time).await?;
        for (one, before) in self.alive.iter().zip(before) {
            one.sent.check_pauses("a candidate", before)?;
        }
        Ok(())
    }

    /// Waits for a moment, or until a candidate says something, and judges who leads then.
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
            let what = format!("the {} has ended", one.name);
            check_running(&mut one.task, &what, "what ends your code").await?;
            one.check_overdue(one.leads)?;
        }
        let leaders: Vec<_> = self.alive.iter().filter(|one| one.leads).collect();
        if leaders.len() > 1 {
            self.late = leaders.iter().any(|one| one.renewed.is_some());
        }
        if let Some(time) = self.two.too_long(leaders.len() > 1, TOLERANCE, WRONG_LIMIT) {
            let history = self.etcd.history(QUEUE, 1).await?;
            let hint = match history.iter().any(|change| change.value.is_none()) {
                _ if self.late => "how a leader would learn that it no longer leads",
                true => "how long your code keeps the guard",
                false => "how a candidate would learn that another was faster",
            };
            let time = if time < WRONG_LIMIT { "a moment" } else { "a second" };
            return broken(format!("for {time} there were two leaders at once"), hint);
        }
        Ok(())
    }
}

impl Candidate {
    /// Judges a leader that says that it no longer leads.
    fn stops(&mut self) -> Result<()> {
        self.check_overdue(false)?;
        if self.renewed.take().is_none() && !self.is_cut {
            return too_slow(
                format!("the {} stopped leading, although nothing had happened", self.name),
                "how long your code keeps the lock",
            );
        }
        Ok(())
    }

    /// Judges how long this candidate has led, if it is cut off, since its session was lost.
    fn check_overdue(&mut self, leads: bool) -> Result<()> {
        let is_lost = self.renewed.is_some_and(|renewed| renewed.elapsed() > TTL);
        let Some(time) = self.overdue.too_long(leads && is_lost, TOLERANCE, Duration::MAX) else {
            return Ok(());
        };
        let time = time.as_secs_f64();
        broken(
            format!("the {} said for {time:.1} s after it lost its session that it led", self.name),
            "what your code does between the loss of the session and leads(false)",
        )
    }

    fn draw(&self) {
        let symbols = if self.is_cut { [CUT_OFF, LEADS_CUT_OFF] } else { [NOT_LEADING, LEADS] };
        self.timeline.note(self.name, symbols[usize::from(self.leads)]);
    }
}
