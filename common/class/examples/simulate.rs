//! Simulates a class that works on the exercises, so that you see its board before the lesson.
//!
//! ```text
//! cargo simulate           30 students, on the etcd that ETCDCTL_ENDPOINTS names
//! cargo simulate 300
//! ```
//!
//! First start `cargo class` in another terminal, and type the line that its screen shows. No
//! exercise runs; the students only report what a run would report.

use std::time::Duration;

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, argument, connect, within};
use etcd_client::{Client, PutOptions, Txn, TxnOp};
use exercise::{CLASS, COURSE, HERE, RUNNING, verdict_value};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let count = argument("STUDENTS", include_str!("simulate.rs")).unwrap_or("30".into());
    let count: usize = String::from_utf8_lossy(&count).parse().ok().context(
        "cannot simulate this class: STUDENTS is not a number; type, for example: cargo simulate 30",
    )?;
    class::endpoints()?;
    let client = connect().await?;
    let mut students = JoinSet::new();
    for number in 1..=count {
        students.spawn(work(client.clone(), format!("{CLASS}student{number:03}/demo/")));
    }
    while let Some(ended) = students.join_next().await {
        ended??;
    }
    Ok(())
}

/// Plays one student, who tries each exercise until it is held.
async fn work(mut client: Client, student: String) -> Result<()> {
    sleep(seconds(0.0, 10.0)).await;
    for exercise in COURSE.map(|exercise| exercise.name) {
        let running = format!("{student}{exercise}/{RUNNING}");
        let mut value = String::new();
        loop {
            let here = within(REQUEST_TIMEOUT, client.lease_grant(600, None)).await?;
            let run = within(REQUEST_TIMEOUT, client.lease_grant(30, None)).await?;
            let on = |lease| Some(PutOptions::new().with_lease(lease));
            let begin = [
                TxnOp::put(format!("{student}{HERE}"), "", on(here.id())),
                TxnOp::put(&*running, "", on(run.id())),
            ];
            put_all(&mut client, begin).await?;
            sleep(seconds(1.0, 12.0)).await;
            let verdict = if fastrand::f64() < 0.4 { "held" } else { "broken" };
            value = verdict_value(verdict, &value);
            let end = [
                TxnOp::put(format!("{student}{exercise}"), &*value, None),
                TxnOp::delete(&*running, None),
            ];
            put_all(&mut client, end).await?;
            sleep(seconds(2.0, 30.0)).await;
            if verdict == "held" {
                break;
            }
        }
    }
    Ok(())
}

async fn put_all(client: &mut Client, all: [TxnOp; 2]) -> Result<()> {
    within(REQUEST_TIMEOUT, client.txn(Txn::new().and_then(all))).await.context("put failed")?;
    Ok(())
}

fn seconds(least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(least + fastrand::f64() * (most - least))
}
