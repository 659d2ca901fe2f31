use std::env;
use std::fs;
use std::io::{ErrorKind, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use common::{Failover, REQUEST_TIMEOUT, connect_through, within};
use etcd_client::{GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::progress;
use crate::text::complain;
use crate::verdict::Verdict;

/// The prefix of the keys of a class: `class/NAME/CLONE/EXERCISE` has a student's last verdict.
pub const CLASS: &str = "class/";
/// The last part of a key that exists while an exercise runs.
pub const RUNNING: &str = "running";
/// The last part of a key that exists while a student is present.
pub const HERE: &str = "here";

/// What stands for a name in the line that a class shows to its students.
pub const YOUR_NAME: &str = "your-name";

/// The TTL of the lease on the key of a run, in seconds. The run renews it.
const RUN_TTL: i64 = 4;
/// How long a student counts as present after a run has begun, in seconds.
const HERE_TTL: i64 = 600;

/// A report of a run to the class. It has a thread of its own, so that a report that fails or hangs
/// changes nothing about the experiment and its verdict.
pub(crate) struct Report {
    is_named: bool,
    verdict: oneshot::Sender<&'static str>,
    ended: Receiver<Result<()>>,
}

impl Report {
    /// Reports that the exercise runs, if `EXERCISE_NAME` names the student. Without a name, checks
    /// that the student is in no class.
    pub(crate) fn begin(exercise: &str) -> Option<Report> {
        let name = env::var_os("EXERCISE_NAME").unwrap_or_default();
        let name = name.to_string_lossy().trim().replace('/', "-");
        let is_named = !["", YOUR_NAME].contains(&&*name);
        if !is_named && env::var("ETCDCTL_ENDPOINTS").unwrap_or_default().is_empty() {
            return None;
        }
        let student = format!("{CLASS}{name}/{}/", clone_id());
        let exercise = exercise.to_owned();
        let (verdict, verdict_received) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let reported = runtime.map_err(Into::into).and_then(|runtime| match is_named {
                true => runtime.block_on(report(student, exercise, verdict_received)),
                false => runtime.block_on(check_no_class()),
            });
            let _ = end.send(reported); // the run may have ended
        });
        Some(Report { is_named, verdict, ended })
    }

    /// Reports the verdict. Waits at most as long as for one request, and never without a name.
    pub(crate) fn end(self, verdict: &Verdict) {
        let _ = self.verdict.send(verdict.word()); // if the report failed, `ended` has the error
        let reported = match self.is_named {
            true => self.ended.recv_timeout(REQUEST_TIMEOUT).context("no response in time"),
            false => self.ended.try_recv().or(Ok(Ok(()))),
        };
        if let Err(error) = reported.flatten() {
            complain(&format!("the class does not see this verdict: {error:#}"));
        }
    }
}

/// Checks that the etcd of a student without a name isn't the etcd of a class, which has keys below
/// `class/` from the beginning. Ignores an etcd that doesn't respond.
async fn check_no_class() -> Result<()> {
    let Ok(mut client) = connect_through(Failover::default()).await else {
        return Ok(());
    };
    let any = GetOptions::new().with_prefix().with_limit(1);
    let found = within(REQUEST_TIMEOUT, client.get(CLASS, Some(any))).await;
    ensure!(
        found.map_or(true, |found| found.kvs().is_empty()),
        "EXERCISE_NAME does not say who you are; type, with your own name:\n\
         export EXERCISE_NAME='{YOUR_NAME}'"
    );
    Ok(())
}

async fn report(
    student: String,
    exercise: String,
    verdict: oneshot::Receiver<&'static str>,
) -> Result<()> {
    let endpoints = env::var_os("ETCDCTL_ENDPOINTS").filter(|endpoints| !endpoints.is_empty());
    endpoints.context("ETCDCTL_ENDPOINTS is not set; type the line that the teacher shows")?;
    let mut client = connect_through(Failover::default()).await?;
    let here = within(REQUEST_TIMEOUT, client.lease_grant(HERE_TTL, None)).await?;
    let run = within(REQUEST_TIMEOUT, client.lease_grant(RUN_TTL, None)).await?;
    let on = |lease| Some(PutOptions::new().with_lease(lease));
    let running = format!("{student}{exercise}/{RUNNING}");
    let verdict_key = format!("{student}{exercise}");
    let begin = Txn::new().and_then([
        TxnOp::get(&*verdict_key, None),
        TxnOp::put(format!("{student}{HERE}"), "", on(here.id())),
        TxnOp::put(&*running, "", on(run.id())),
    ]);
    let begun = within(REQUEST_TIMEOUT, client.txn(begin)).await.context("put failed")?;
    let before = begun.op_responses().iter().find_map(|response| match response {
        TxnOpResponse::Get(found) => found.kvs().first()?.value_str().ok().map(str::to_owned),
        _ => None,
    });

    let third = Duration::from_secs(RUN_TTL.unsigned_abs()) / 3;
    let mut renewing = client.clone();
    let renewals = async {
        loop {
            sleep(third).await;
            // If a renewal fails, the board may show no run for a while, but it will get the
            // verdict.
            let _ = within(REQUEST_TIMEOUT, renewing.lease_keep_alive(run.id())).await;
        }
    };
    let word = tokio::select! {
        word = verdict => word.context("the run ended without a verdict")?,
        () = renewals => return Ok(()), // unreachable: `renewals` loops forever
    };
    // In one transaction, so that the board never shows the verdict of a run that goes on.
    let end = Txn::new().and_then([
        TxnOp::put(verdict_key, verdict_value(word, &before.unwrap_or_default()), None),
        TxnOp::delete(running, None),
    ]);
    within(REQUEST_TIMEOUT, client.txn(end)).await.context("put failed")?;
    let _ = within(REQUEST_TIMEOUT, client.lease_revoke(run.id())).await; // it would expire anyway
    Ok(())
}

/// Returns the value of a verdict's key: `held` or `broken`, the time of this verdict, and the time
/// since which every verdict was the same. `before` is the previous value.
pub fn verdict_value(word: &str, before: &str) -> String {
    let now = now();
    match before.split(' ').collect::<Vec<_>>()[..] {
        [same, _, since] if same == word => format!("{word} {now} {since}"),
        _ => format!("{word} {now} {now}"),
    }
}

/// Returns the seconds since 1970, by the clock of this machine.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Returns four letters that distinguish this clone from others, because two students may have the
/// same name. The first call on a clone makes them up.
fn clone_id() -> String {
    let id = || {
        let path = progress::folder()?.join("clone");
        fs::create_dir_all(path.parent()?).ok()?;
        let id: String = std::iter::repeat_with(fastrand::lowercase).take(4).collect();
        match fs::File::create_new(&path).map(|mut file| file.write_all(id.as_bytes())) {
            Ok(Ok(())) => Some(id),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let id = fs::read_to_string(path).ok()?;
                (id.len() == 4 && id.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(id)
            }
            _ => None,
        }
    };
    id().unwrap_or("none".to_owned())
}
