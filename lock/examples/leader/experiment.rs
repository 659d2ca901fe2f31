//! The experiment of the exercise `leader`: one leader is cut off and comes back, and others die.
//!
//! Repair `yours.rs`, not this file.

use std::cell::Cell;
use std::io::{Write, stdout};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use common::REQUEST_TIMEOUT;
use etcd_server::{Proxy, Server};
use exercise::{
    Exercise, NOTHING, Scene, Sign, Stopwatch, Timeline, Verdict, blocking, broken, check_running,
    connect_to, held,
};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::stand;

// Every answer has this function. A call names the answer first: `stand(answer, client, ..)`.
macro_rules! answers {
    ($($answer:ident),+ $(,)?) => {
        exercise::answers! {
            const ANSWERS = [$($answer),+];
            async fn stand(client: &etcd_client::Client, lock: &str, ttl: std::time::Duration, leads: impl Fn(bool)) -> anyhow::Result<()>;
        }
    };
}

pub const EXERCISE: Exercise = Exercise {
    name: "leader",
    hint: "The lock ends with its session, and etcd cannot tell this to a leader that is cut off. What \
           does the session know without etcd? What do you do when it is lost, and with which \
           session do you stand again?",
};

const LOCK: &str = "leader";
const TTL: Duration = Duration::from_secs(2);

const LEADS: Sign = Sign('█', '#', "says that it leads");
const CUT_LEADS: Sign = Sign('▓', '%', "the same, cut off");
const FOLLOWS: Sign = Sign('─', '-', "does not");
const CUT_FOLLOWS: Sign = Sign('┄', '.', "does not, cut off");
const DIES: Sign = Sign('†', 'x', "dies");

/// How long two may lead: the experiment does not see both at the same moment.
const TOLERANCE: Duration = Duration::from_millis(200);
/// How long the experiment watches two leaders.
const WRONG_LIMIT: Duration = Duration::from_secs(1);
/// How long a candidate may take to stand, so that they stand in the order of their names.
const APART: Duration = Duration::from_millis(100);
/// How long the first leader leads. Its session is renewed every third of the TTL, the last time 1.3 s
/// after the beginning. So it is lost at 3.3 s, and who looks once a second sees that at 4 s.
const UNDISTURBED: Duration = Duration::from_millis(1500);
/// How long it watches a candidate that is back, while another one leads.
const BACK: Duration = Duration::from_secs(1);
/// How long there may be no leader. It takes etcd a TTL and half a second to end a lease.
const PATIENCE: Duration = Duration::from_secs(6);

pub async fn run(scene: Scene) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let mut all = Candidates { timeline: scene.timeline.clone(), ..Candidates::default() };

    all.enter(&scene, &server).await?;
    let one = all.leader(None, "with one candidate", "what your code does first").await?;
    let begin = Instant::now();
    all.enter(&scene, &server).await?;
    all.enter(&scene, &server).await?;
    writeln!(stdout(), "the first of three candidates leads; the TTL is {} s", TTL.as_secs())?;
    while begin.elapsed() < UNDISTURBED {
        let leaders = all.look().await?;
        if leaders.iter().all(|leader| *leader != one) {
            let what = "it has stopped leading, and nothing had happened";
            return broken(what, "how long your code keeps the lock");
        }
    }

    let look = "what etcd keeps of a leader that it does not hear from, and for how long";
    all.cut(one);
    writeln!(stdout(), "the network is cut, between the first and the server")?;
    let two = all.leader(Some(one), "after the leader was cut off", look).await?;
    // Longer than opening a session may take: a candidate that opens one meanwhile must retry.
    let away = Instant::now();
    while away.elapsed() < TTL + REQUEST_TIMEOUT * 2 {
        all.look().await?;
    }
    all.mend(one);
    let back = Instant::now();
    while back.elapsed() < BACK {
        all.look().await?;
    }
    all.kill(two).await;
    writeln!(stdout(), "the first has its network back, and the second dies")?;
    let three = all.leader(None, "after its death", look).await?;
    all.kill(three).await;
    writeln!(stdout(), "the next leader dies, too")?;
    let look = "what your code does when it has lost the lead";
    all.leader(None, "with one that was cut off and is back", look).await?;
    held("there was always another leader, and never two at once")
}

/// The candidates that are alive.
#[derive(Default)]
struct Candidates {
    candidates: Vec<Candidate>,
    entered: usize,
    timeline: Timeline,
    /// The networks of the dead, cut for ever.
    dead: Vec<Proxy>,
    /// Whether one that is alive has been cut off.
    was_cut: bool,
    /// For how long two say that they lead.
    two: Stopwatch,
}

struct Candidate {
    number: usize,
    state: Rc<State>,
    link: Proxy,
    task: JoinHandle<Result<()>>,
    /// When it was cut off, if it has not yet said since then that it does not lead.
    cut: Option<Instant>,
}

/// What a candidate says, and whether it is cut off.
struct State {
    name: &'static str,
    leads: Cell<bool>,
    is_cut: Cell<bool>,
    timeline: Timeline,
}

impl State {
    fn draw(&self) {
        let sign = match (self.leads.get(), self.is_cut.get()) {
            (true, false) => LEADS,
            (true, true) => CUT_LEADS,
            (false, false) => FOLLOWS,
            (false, true) => CUT_FOLLOWS,
        };
        self.timeline.note(self.name, sign);
    }
}

impl Candidates {
    /// Starts another candidate, on a network of its own.
    async fn enter(&mut self, scene: &Scene, server: &Server) -> Result<()> {
        let link = Proxy::to(server.address())?;
        let state = Rc::new(State {
            name: ["first", "second", "third"][self.entered],
            leads: Cell::new(false),
            is_cut: Cell::new(false),
            timeline: self.timeline.clone(),
        });
        state.draw();
        let said = Rc::clone(&state);
        let leads = move |leads| {
            said.leads.set(leads);
            said.draw();
        };
        let (answer, client) = (scene.answer, connect_to(link.address()).await?);
        let task = spawn_local(async move { stand(answer, &client, LOCK, TTL, leads).await });
        self.entered += 1;
        self.candidates.push(Candidate { number: self.entered, state, link, task, cut: None });
        sleep(APART).await;
        Ok(())
    }

    /// Ends a candidate as `kill -9` does: it sends nothing any more, not even that it ends.
    async fn kill(&mut self, number: usize) {
        for candidate in self.candidates.extract_if(.., |one| one.number == number) {
            candidate.link.cut();
            candidate.task.abort();
            let _ = candidate.task.await; // that it was aborted
            self.timeline.mark(candidate.state.name, DIES);
            self.timeline.note(candidate.state.name, NOTHING);
            self.dead.push(candidate.link);
        }
    }

    fn cut(&mut self, number: usize) {
        self.was_cut = true;
        for candidate in self.candidates.iter_mut().filter(|one| one.number == number) {
            candidate.link.cut();
            candidate.cut = Some(Instant::now());
            candidate.state.is_cut.set(true);
            candidate.state.draw();
        }
    }

    fn mend(&self, number: usize) {
        for candidate in self.candidates.iter().filter(|one| one.number == number) {
            candidate.link.mend();
            candidate.state.is_cut.set(false);
            candidate.state.draw();
        }
    }

    /// Waits until exactly one candidate leads, and it is not the `former` one.
    async fn leader(
        &mut self,
        former: Option<usize>,
        when: &str,
        look: &'static str,
    ) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look().await?[..] {
                [one] if former != Some(one) => return Ok(one),
                [] | [_] if Instant::now() > deadline => {
                    let what = format!("{when}, there was no new leader for {PATIENCE:?}");
                    return broken(what, look);
                }
                _ => {}
            }
        }
    }

    /// Returns the candidates that say that they lead, or *broken* if there were two for long.
    async fn look(&mut self) -> Result<Vec<usize>> {
        sleep(Duration::from_millis(20)).await;
        for candidate in &mut self.candidates {
            let what = "a candidate has come to an end";
            check_running(&mut candidate.task, what, "what ends your code").await?;
            // Its last renewal was sent before it was cut off.
            if !candidate.state.leads.get()
                && let Some(cut) = candidate.cut.take()
                && cut.elapsed() > TTL + TOLERANCE
            {
                return broken(
                    "a leader that was cut off said that it led for longer than a TTL",
                    "what your code does between the loss of the session and leads(false)",
                );
            }
        }
        let leaders = self.candidates.iter().filter(|one| one.state.leads.get());
        let leaders: Vec<usize> = leaders.map(|one| one.number).collect();
        if let Some(time) = self.two.too_long(leaders.len() > 1, TOLERANCE, WRONG_LIMIT) {
            let look = match self.was_cut {
                true => "how a leader would learn that it is not the leader any more",
                false => "how a candidate would learn that another one was faster",
            };
            let time =
                if time < WRONG_LIMIT { "a moment".to_owned() } else { format!("{time:.1?}") };
            return broken(format!("for {time} there were two leaders at once"), look);
        }
        Ok(leaders)
    }
}
