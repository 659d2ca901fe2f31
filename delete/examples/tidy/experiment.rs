//! The experiment of the exercise `tidy`: it deletes jobs while others restart them.
//!
//! There is nothing to fix in this file; edit `yours.rs`.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Change, Etcd, Fault, Played, Scene, Steps, Verdict, blocking, broken,
    connect_intercepted, held, retry_if_slow_or_counted, returned_error, say,
};

/// The function that the experiment tries.
pub type Tidy = for<'a> fn(&'a mut Client, &'a str) -> BoxFuture<'a, i64>;

/// Jobs that are done, and that nobody changes.
const STAY_DONE: [&str; 2] = ["jobs/1", "jobs/30"];
/// Jobs that are done, until others restart them.
const RESTARTED: [&str; 2] = ["jobs/2", "jobs/4"];
const ALL_DONE: [&str; 4] = [RESTARTED[0], RESTARTED[1], STAY_DONE[0], STAY_DONE[1]];
/// Keys that must stay. Most of them come before the last job that is done.
const NOT_DONE: [(&str, &str); 14] = [
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

pub async fn run(scene: Scene, tidy: Tidy) -> Result<Verdict> {
    // A private etcd, so that nobody else makes the last change.
    let server = blocking(Server::start).await?;
    let (etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut jobs = Jobs { etcd, address, scene, tidy, own: Vec::new(), loses: false };

    // Others restart jobs after the first request, then after the second and so on, until `tidy`
    // sends no more than that.
    let mut requests = 0;
    loop {
        let (counted, is_staged) = retry_if_slow_or_counted(async |_| {
            let played = jobs.play(Fault::Overtaken, requests + 1, Jobs::restart_two).await?;
            Ok((played.said.or_else(returned_error)?, played.is_staged))
        })
        .await?;
        if !is_staged {
            say!("4 jobs are done, and nobody restarts any; tidy returns {counted}")?;
            jobs.judge(Some(counted), &ALL_DONE).await?;
            break;
        }
        requests += 1;
        say!("4 jobs are done; after the response to your request {requests}, others restart two")?;
        jobs.judge(Some(counted), &STAY_DONE).await?;
    }
    ensure!(requests > 0, "tidy sent no request to etcd, so there is nothing to judge");

    let nobody = async |_: &mut Jobs| Ok(());
    let mut lost = vec![1, requests];
    lost.dedup();
    for nth in lost {
        say!("4 jobs are done; the network loses the response to your request {nth}")?;
        jobs.lose(Fault::ResponseLost, nth, nobody, &ALL_DONE).await?;
        say!("4 jobs are done; the network loses your request {nth}, and others restart two")?;
        jobs.lose(Fault::RequestLost, nth, Jobs::restart_two, &STAY_DONE).await?;
    }
    say!("4 jobs are done; the network loses your request {requests}, and others delete the rest")?;
    jobs.lose(Fault::RequestLost, requests, Jobs::delete_done, &[]).await?;
    say!("4 jobs are done; your request {requests} arrives after your next one")?;
    jobs.lose(Fault::Late, requests, nobody, &[]).await?;
    held("the jobs that were done are gone, and nothing else is")
}

/// The jobs in etcd, and the function that deletes some of them.
struct Jobs {
    etcd: Etcd,
    address: SocketAddr,
    scene: Scene,
    tidy: Tidy,
    /// The revisions of the experiment's own changes in this run, from the put of the last job on.
    own: Vec<i64>,
    /// Whether this run loses a request or a response.
    loses: bool,
}

impl Jobs {
    /// Runs `tidy` with a fault at its `nth` request, and judges it. If it returns an error, the
    /// jobs in `stayed` may still be there.
    async fn lose(
        &mut self,
        fault: Fault,
        nth: usize,
        others: impl AsyncFnOnce(&mut Jobs) -> Result<()>,
        stayed: &[&str],
    ) -> Result<()> {
        match self.play(fault, nth, others).await?.said {
            Ok(counted) => self.judge(Some(counted), stayed).await,
            Err(_) => self.judge(None, &[]).await,
        }
    }

    /// Puts all jobs again, and runs `tidy` with a fault at its `nth` request.
    async fn play(
        &mut self,
        fault: Fault,
        nth: usize,
        others: impl AsyncFnOnce(&mut Jobs) -> Result<()>,
    ) -> Result<Played<Result<i64>>> {
        self.etcd.delete_all("jobs").await?;
        for (key, value) in NOT_DONE {
            self.etcd.put(key, value).await?;
        }
        self.own.clear();
        // The last change is that of a job that stays done.
        for job in ALL_DONE {
            self.own = vec![self.etcd.put(job, "done").await?];
        }
        self.loses = fault != Fault::Overtaken;
        let (mut client, mut network) = connect_intercepted(self.address).await?;
        let tidy = self.tidy;
        let tidying = async move { tidy(&mut client, "jobs").await };
        network.play(fault, nth, tidying, async || others(self).await).await
    }

    /// Puts a new value of the first job. Deletes the second job, and puts a new one in its place.
    async fn restart_two(&mut self) -> Result<()> {
        self.own.extend(self.etcd.delete(RESTARTED[1]).await?);
        self.own.push(self.etcd.put(RESTARTED[0], "running").await?);
        self.own.push(self.etcd.put(RESTARTED[1], "waiting").await?);
        Ok(())
    }

    async fn delete_done(&mut self) -> Result<()> {
        for job in ALL_DONE {
            self.own.extend(self.etcd.delete(job).await?);
        }
        Ok(())
    }

    /// Judges what etcd has seen of this run. `counted` is what `tidy` returned, or `None` for an
    /// error. `stayed` are the jobs that were done until the end, unless `tidy` deleted them.
    async fn judge(&mut self, counted: Option<i64>, stayed: &[&str]) -> Result<()> {
        let history = self.etcd.history("jobs", self.own[0]).await?;
        let is_own = |change: &Change| self.own.contains(&change.revision);
        // The keys of those changes by `tidy` that fulfill a condition.
        let keys = |is: fn(&Change) -> bool| -> Vec<&str> {
            let by_tidy = history.iter().filter(|change| !is_own(change) && is(change));
            by_tidy.map(|change| &*change.key).collect()
        };

        let put = keys(|change| change.value.is_some());
        if !put.is_empty() {
            return broken(
                format!("tidy must only delete, but it put {}", put.join(", ")),
                match put.iter().all(|key| ALL_DONE.contains(key)) {
                    true => "what others see and do before that put, and which value it replaces",
                    false => "who knows of that key: others restart a job without looking at it",
                },
            );
        }
        let restarted = keys(|change| begins_done(change) && !was_done(change));
        if let Some(job) = restarted.first() {
            let mut steps = Steps::default();
            steps.add("tidy", format!("look at {job}"));
            for change in history.iter().filter(|change| change.key == *job) {
                steps.add(if is_own(change) { "others" } else { "tidy" }, change.to_string());
            }
            self.scene.show(steps);
            return broken(
                format!("tidy deleted jobs that were no longer done: {}", restarted.join(", ")),
                "what others can do between your look at a job and your delete",
            );
        }
        let others = keys(|change| !begins_done(change));
        if !others.is_empty() {
            return broken(
                format!("tidy deleted keys that are not jobs, or not done: {}", others.join(", ")),
                "which keys your code asks for, and which of them it takes to be done",
            );
        }
        let Some(counted) = counted else {
            return Ok(());
        };
        let deleted = keys(|_| true);
        let left = stayed.iter().filter(|job| !deleted.contains(job)).count();
        if left > 0 {
            return broken(
                format!("{} jobs stayed done, but tidy left {left} of them", stayed.len()),
                match self.loses {
                    true => "what your code does with an error",
                    false => "the jobs that your code doesn't come to, and what it compares",
                },
            );
        }
        if counted != deleted.len() as i64 {
            return broken(
                format!("tidy returned {counted}, but it deleted {}", deleted.len()),
                match self.loses {
                    true => "what your code does with an error, and what a missing job tells you",
                    false => "what your code counts, and which response says that a job is gone",
                },
            );
        }
        Ok(())
    }
}

fn begins_done(change: &Change) -> bool {
    ALL_DONE.contains(&&*change.key)
}

fn was_done(change: &Change) -> bool {
    change.before.as_deref() == Some("done")
}
