//! The experiment of the exercise `tidy`: jobs are removed while others use them.
//!
//! Repair `yours.rs`, not this file.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, DeleteOptions, EventType, WatchOptions};
use etcd_server::Server;
use exercise::{
    Exercise, Scene, Steps, Verdict, blocking, broken, connect_by_wire_to, connect_to,
    counted_round, gave_up, held,
};
use tokio::time::timeout;

use crate::tidy;

// Every answer has this function. A call names the answer first: `tidy(answer, client, ..)`.
macro_rules! answers {
    ($($answer:ident),+ $(,)?) => {
        exercise::answers! {
            const ANSWERS = [$($answer),+];
            async fn tidy(client: &mut etcd_client::Client, folder: &str) -> anyhow::Result<i64>;
        }
    };
}

pub const EXERCISE: Exercise = Exercise {
    name: "tidy",
    hint: "A check before the delete does not help, however late it is: a change can come after it. \
           Let etcd compare and delete in one step, as in the exercise counter of put-get. And \
           which keys begin with the name of the folder?",
};

/// These jobs are done, and nobody changes them.
const DONE: [&str; 2] = ["jobs/1", "jobs/30"];
/// These jobs are done, and are started again meanwhile.
const AGAIN: [&str; 2] = ["jobs/2", "jobs/4"];
/// Other keys and values. Many of them come before the last job that is done.
const OTHERS: [(&str, &str); 14] = [
    ("jobs/10", "running"),
    ("jobs/11", "running"),
    ("jobs/12", "running"),
    ("jobs/13", "running"),
    ("jobs/14", "running"),
    ("jobs/15", "running"),
    ("jobs/16", "running"),
    ("jobs/5", "running"),
    ("jobs/6", "failed"),
    ("jobs/7", "not done"),
    ("jobs/8", "done soon"),
    ("jobs/9", "Done"),
    ("jobs-old/1", "done"),
    ("jobs2/1", "done"),
];

pub async fn run(scene: Scene) -> Result<Verdict> {
    // Of its own: nobody else may make the last change.
    let server = blocking(Server::start).await?;
    let address = server.address();
    let client = connect_to(address).await?;
    let mut jobs = Jobs { client, address, scene, own: Vec::new(), loses: false };

    // A fault after the first request, after the second and so on, until `tidy` sends fewer
    // requests, and no fault comes.
    let mut requests = 0;
    loop {
        let (counted, fault) = counted_round(async |_| {
            let (counted, fault) = jobs.run(requests + 1, Fault::StartsAgain).await?;
            Ok((counted.or_else(gave_up)?, fault))
        })
        .await?;
        if !fault {
            writeln!(stdout(), "4 jobs were done; tidy says that it removed {counted}")?;
            jobs.judge(Some(counted), [DONE, AGAIN].as_flattened()).await?;
            break;
        }
        requests += 1;
        writeln!(
            stdout(),
            "4 jobs were done; after the response to your request {requests}, two of them were started again"
        )?;
        jobs.judge(Some(counted), &DONE).await?;
    }
    ensure!(requests > 0, "tidy has asked etcd for nothing, so nothing was tried");

    let mut turns = vec![1, requests];
    turns.dedup();
    for nth in turns {
        writeln!(stdout(), "4 jobs were done; the response to your request {nth} was lost")?;
        match jobs.run(nth, Fault::LosesResponse).await?.0 {
            Ok(counted) => jobs.judge(Some(counted), [DONE, AGAIN].as_flattened()).await?,
            Err(_) => jobs.judge(None, &[]).await?, // it says so
        }
        writeln!(
            stdout(),
            "4 jobs were done; your request {nth} was lost, and two of them were started again"
        )?;
        match jobs.run(nth, Fault::LosesRequest).await?.0 {
            Ok(counted) => jobs.judge(Some(counted), &DONE).await?,
            Err(_) => jobs.judge(None, &[]).await?,
        }
    }
    writeln!(
        stdout(),
        "4 jobs were done; your request {requests} was lost, and another program removed what was left"
    )?;
    let counted = jobs.run(requests, Fault::Overtaken).await?.0;
    jobs.judge(counted.ok(), &[]).await?;
    writeln!(stdout(), "4 jobs were done; your request {requests} arrived after your next one")?;
    let counted = jobs.run(requests, Fault::Late).await?.0;
    jobs.judge(counted.ok(), &[]).await?;
    held("the jobs that were done are gone, and nothing else")
}

/// What happens to the request with a given number.
#[derive(PartialEq)]
enum Fault {
    /// Jobs are started again when etcd has responded to it.
    StartsAgain,
    LosesResponse,
    /// It never arrives, and jobs are started again.
    LosesRequest,
    /// It never arrives, and others remove the jobs that are done.
    Overtaken,
    /// It arrives after the next one.
    Late,
}

/// The jobs, and who changes them.
struct Jobs {
    client: Client,
    /// The server's.
    address: SocketAddr,
    scene: Scene,
    /// The revisions of the experiment's own changes, since all was as it should be.
    own: Vec<i64>,
    /// Whether a request or a response was lost in this run.
    loses: bool,
}

impl Jobs {
    /// Begins again.
    async fn prepare(&mut self) -> Result<()> {
        let all = DeleteOptions::new().with_prefix();
        let delete = self.client.delete("jobs", Some(all));
        within(REQUEST_TIMEOUT, delete).await.context("delete failed")?;
        for (key, value) in OTHERS {
            self.put(key, value).await?;
        }
        // One of those that stay done is the last change.
        for job in [AGAIN, DONE].as_flattened() {
            self.put(job, "done").await?;
        }
        self.own.drain(..self.own.len() - 1);
        Ok(())
    }

    /// Runs `tidy`, with a fault at the request of this number, counted from 1. Returns what `tidy`
    /// returns, and whether there was such a request.
    async fn run(&mut self, nth: usize, fault: Fault) -> Result<(Result<i64>, bool)> {
        self.prepare().await?;
        let (mut client, mut wire) = connect_by_wire_to(self.address).await?;
        let (answer, folder) = (self.scene.answer, "jobs");
        let loses = fault != Fault::StartsAgain;
        self.loses = loses;
        let limit = if loses { 5 * REQUEST_TIMEOUT } else { Duration::MAX };
        // The client is dropped with the task. Then the wire returns `None`.
        let tidying = async move { timeout(limit, tidy(answer, &mut client, folder)).await };
        let interfere = async {
            // What is lost is not dropped before `tidy` has come to an end.
            if let Fault::LosesRequest | Fault::Overtaken | Fault::Late = fault {
                for _ in 1..nth {
                    wire.response(1).await;
                }
                let Some(request) = wire.request().await else {
                    return anyhow::Ok((false, (None, None)));
                };
                match fault {
                    Fault::Overtaken => self.remove_done().await?,
                    Fault::Late => {
                        let next = wire.response(1).await; // none from a client that has given up
                        request.arrive_late().await?;
                        drop(next);
                        wire.open();
                        return Ok((true, (None, None)));
                    }
                    _ => self.start_again().await?,
                }
                wire.open();
                return Ok((true, (Some(request), None)));
            }
            // etcd's response is on its way while this happens.
            let response = wire.response(nth).await;
            if response.is_some() && !loses {
                self.start_again().await?;
            }
            wire.open();
            Ok((response.is_some(), (None, response.filter(|_| loses))))
        };
        let (counted, interfered) = tokio::join!(tidying, interfere);
        let (there_was, _lost) = interfered?;
        match counted {
            Ok(counted) => Ok((counted, there_was)),
            Err(_) => broken(
                format!("what the network has lost is still waited for after {limit:?}"),
                "which of your requests has no limit",
            ),
        }
    }

    /// The first job gets a new value. The second one is deleted, and there is a new one.
    async fn start_again(&mut self) -> Result<()> {
        self.delete(AGAIN[1]).await?;
        self.put(AGAIN[0], "running").await?;
        self.put(AGAIN[1], "waiting").await?;
        Ok(())
    }

    async fn remove_done(&mut self) -> Result<()> {
        for job in [DONE, AGAIN].as_flattened() {
            self.delete(job).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, name: &str) -> Result<()> {
        let delete = self.client.delete(name, None);
        let response = within(REQUEST_TIMEOUT, delete).await.context("delete failed")?;
        // A delete that finds nothing has the revision of somebody's last change.
        if response.deleted() > 0 {
            self.own.push(response.header().context("no header")?.revision());
        }
        Ok(())
    }

    async fn put(&mut self, name: &str, value: &str) -> Result<i64> {
        let put = self.client.put(name, value, None);
        let response = within(REQUEST_TIMEOUT, put).await.context("put failed")?;
        let revision = response.header().context("no header")?.revision();
        self.own.push(revision);
        Ok(revision)
    }

    /// Judges what etcd has seen. `tidy` says that it has deleted so many, or that it has failed; and
    /// these jobs have stayed done.
    async fn judge(&mut self, counted: Option<i64>, stayed: &[&str]) -> Result<()> {
        let from = *self.own.first().context("not prepared")?;
        let end = self.put("jobs/5", "running").await?;
        let all = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(from);
        let watch = self.client.watch("jobs", Some(all));
        let mut changes = within(REQUEST_TIMEOUT, watch).await.context("watch failed")?;

        let (mut removed, mut destroyed, mut taken, mut put) = (vec![], vec![], vec![], vec![]);
        // What has become of each job, and who has done it.
        let mut history = Vec::new();
        let mut seen = from;
        while seen < end {
            let response =
                within(CONNECT_TIMEOUT, changes.message()).await.context("watch failed")?;
            let response = response.context("the watch has ended")?;
            ensure!(!response.canceled(), "the watch was cancelled");
            for event in response.events() {
                let kv = event.kv().context("no key")?;
                seen = kv.mod_revision();
                let name = kv.key_str()?.to_owned();
                let is_own = self.own.contains(&seen);
                let what = match event.event_type() {
                    EventType::Put => format!("put {name} {}", kv.value_str()?),
                    EventType::Delete => format!("delete {name}"),
                };
                history.push((name.clone(), if is_own { "others" } else { "tidy" }, what));
                if is_own {
                    continue;
                }
                let was_done = event.prev_kv().is_some_and(|kv| kv.value() == b"done");
                match event.event_type() {
                    EventType::Put => put.push(name),
                    _ if !DONE.contains(&&*name) && !AGAIN.contains(&&*name) => taken.push(name),
                    _ if !was_done => destroyed.push(name),
                    _ => removed.push(name),
                }
            }
        }

        if !put.is_empty() {
            let is_job = |name: &String| [DONE, AGAIN].as_flattened().contains(&&**name);
            return broken(
                format!("tidy itself has put {}", put.join(", ")),
                match put.iter().all(is_job) {
                    true => "what others see and do before that put, and which value it replaces",
                    false => "who knows of that key: others start a job without a look at it",
                },
            );
        }
        if let Some(job) = destroyed.first() {
            let mut steps = Steps::default();
            steps.add("tidy", format!("look at {job}"));
            for (_, who, what) in history.into_iter().filter(|(name, ..)| name == job) {
                steps.add(who, what);
            }
            self.scene.show(steps);
            return broken(
                format!("newer values were destroyed: {}", destroyed.join(", ")),
                "what others can do between your look at a job and your delete",
            );
        }
        if !taken.is_empty() {
            return broken(
                format!("what was not done, or no job at all, is gone: {}", taken.join(", ")),
                "which keys your code asks for, and which of them it takes for done",
            );
        }
        let Some(counted) = counted else {
            return Ok(());
        };
        let left = stayed.iter().filter(|job| !removed.iter().any(|gone| gone == *job)).count();
        if left > 0 {
            return broken(
                format!("of {} jobs that stayed done, {left} are still there", stayed.len()),
                match self.loses {
                    true => "what your code does with an error",
                    false => "the jobs that your code does not come to, and what it compares",
                },
            );
        }
        if counted != removed.len() as i64 {
            return broken(
                format!("tidy says that it removed {counted}, etcd has removed {}", removed.len()),
                match self.loses {
                    true => "what your code does with an error, and what a job that is gone says",
                    false => "what your code counts, and which response says that a job is gone",
                },
            );
        }
        Ok(())
    }
}
