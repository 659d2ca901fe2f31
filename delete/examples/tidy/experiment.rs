//! The experiment of the exercise `tidy`: jobs are removed while others use them.
//!
//! Repair `yours.rs`, not this file.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use exercise::{
    BoxFuture, Change, Etcd, Fault, Played, Scene, Steps, Verdict, blocking, broken,
    connect_intercepted, held, retry_if_slow_or_counted, returned_error, say,
};

/// The function that is tried.
pub type Tidy = for<'a> fn(&'a mut Client, &'a str) -> BoxFuture<'a, i64>;

/// These jobs are done, and nobody changes them.
const DONE: [&str; 2] = ["jobs/1", "jobs/30"];
/// These jobs are done, and are started again meanwhile.
const AGAIN: [&str; 2] = ["jobs/2", "jobs/4"];
const ALL: [&str; 4] = [AGAIN[0], AGAIN[1], DONE[0], DONE[1]];
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

pub async fn run(scene: Scene, tidy: Tidy) -> Result<Verdict> {
    // Of its own: nobody else may make the last change.
    let server = blocking(Server::start).await?;
    let (etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut jobs = Jobs { etcd, address, scene, tidy, own: Vec::new(), loses: false };

    // After the first request, after the second and so on, until `tidy` sends fewer.
    let mut requests = 0;
    loop {
        let (counted, is_started) = retry_if_slow_or_counted(async |_| {
            let played = jobs.play(Fault::Overtaken, requests + 1, Jobs::start_again).await?;
            Ok((played.said.or_else(returned_error)?, played.is_staged))
        })
        .await?;
        if !is_started {
            say!("4 jobs were done; tidy says that it removed {counted}")?;
            jobs.judge(Some(counted), &ALL).await?;
            break;
        }
        requests += 1;
        say!(
            "4 jobs were done; after the response to your request {requests}, two of them were started again"
        )?;
        jobs.judge(Some(counted), &DONE).await?;
    }
    ensure!(requests > 0, "tidy has asked etcd for nothing, so nothing was tried");

    let nobody = async |_: &mut Jobs| Ok(());
    let mut turns = vec![1, requests];
    turns.dedup();
    for nth in turns {
        say!("4 jobs were done; the response to your request {nth} was lost")?;
        jobs.lose(Fault::ResponseLost, nth, nobody, &ALL).await?;
        say!("4 jobs were done; your request {nth} was lost, and two of them were started again")?;
        jobs.lose(Fault::RequestLost, nth, Jobs::start_again, &DONE).await?;
    }
    say!(
        "4 jobs were done; your request {requests} was lost, and another program removed what was left"
    )?;
    jobs.lose(Fault::RequestLost, requests, Jobs::remove_done, &[]).await?;
    say!("4 jobs were done; your request {requests} arrived after your next one")?;
    jobs.lose(Fault::Late, requests, nobody, &[]).await?;
    held("the jobs that were done are gone, and nothing else")
}

/// The jobs, and who changes them.
struct Jobs {
    etcd: Etcd,
    address: SocketAddr,
    scene: Scene,
    tidy: Tidy,
    /// The revisions of the experiment's own changes, since all was as it should be.
    own: Vec<i64>,
    /// Whether a request or a response was lost in this run.
    loses: bool,
}

impl Jobs {
    /// Loses something of this request, and judges what `tidy` says and has done. Who says that it
    /// has failed need not have removed any.
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

    /// Begins again, and runs `tidy` with a fault.
    async fn play(
        &mut self,
        fault: Fault,
        nth: usize,
        others: impl AsyncFnOnce(&mut Jobs) -> Result<()>,
    ) -> Result<Played<Result<i64>>> {
        self.etcd.delete_all("jobs").await?;
        for (key, value) in OTHERS {
            self.etcd.put(key, value).await?;
        }
        self.own.clear();
        // One of those that stay done is the last change.
        for job in ALL {
            self.own = vec![self.etcd.put(job, "done").await?];
        }
        self.loses = fault != Fault::Overtaken;
        let (mut client, mut network) = connect_intercepted(self.address).await?;
        let tidy = self.tidy;
        let tidying = async move { tidy(&mut client, "jobs").await };
        network.play(fault, nth, tidying, async || others(self).await).await
    }

    /// The first job gets a new value. The second one is deleted, and there is a new one.
    async fn start_again(&mut self) -> Result<()> {
        self.own.extend(self.etcd.delete(AGAIN[1]).await?);
        self.own.push(self.etcd.put(AGAIN[0], "running").await?);
        self.own.push(self.etcd.put(AGAIN[1], "waiting").await?);
        Ok(())
    }

    async fn remove_done(&mut self) -> Result<()> {
        for job in ALL {
            self.own.extend(self.etcd.delete(job).await?);
        }
        Ok(())
    }

    /// Judges what etcd has seen. `tidy` says that it has deleted so many, or that it has failed;
    /// and these jobs have stayed done.
    async fn judge(&mut self, counted: Option<i64>, stayed: &[&str]) -> Result<()> {
        let history = self.etcd.history("jobs", self.own[0]).await?;
        let is_own = |change: &Change| self.own.contains(&change.revision);
        let names = |is: fn(&Change) -> bool| -> Vec<&str> {
            let by_tidy = history.iter().filter(|change| !is_own(change) && is(change));
            by_tidy.map(|change| &*change.key).collect()
        };

        let put = names(|change| change.value.is_some());
        if !put.is_empty() {
            return broken(
                format!("tidy itself has put {}", put.join(", ")),
                match put.iter().all(|key| ALL.contains(key)) {
                    true => "what others see and do before that put, and which value it replaces",
                    false => "who knows of that key: others start a job without a look at it",
                },
            );
        }
        let destroyed = names(|change| is_job(change) && !was_done(change));
        if let Some(job) = destroyed.first() {
            let mut steps = Steps::default();
            steps.add("tidy", format!("look at {job}"));
            for change in history.iter().filter(|change| change.key == *job) {
                steps.add(if is_own(change) { "others" } else { "tidy" }, change.to_string());
            }
            self.scene.show(steps);
            return broken(
                format!("newer values were destroyed: {}", destroyed.join(", ")),
                "what others can do between your look at a job and your delete",
            );
        }
        let taken = names(|change| !is_job(change));
        if !taken.is_empty() {
            return broken(
                format!("what was not done, or no job at all, is gone: {}", taken.join(", ")),
                "which keys your code asks for, and which of them it takes for done",
            );
        }
        let Some(counted) = counted else {
            return Ok(());
        };
        let removed = names(|_| true);
        let left = stayed.iter().filter(|job| !removed.contains(job)).count();
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

fn is_job(change: &Change) -> bool {
    ALL.contains(&&*change.key)
}

fn was_done(change: &Change) -> bool {
    change.before.as_deref() == Some("done")
}
