//! How fast clusters of one, three and five members are.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::{REQUEST_TIMEOUT, connect_to, within};
use etcd_client::GetOptions;
use etcd_server::Cluster;
use tokio::task::JoinSet;

use crate::scale::start;
use crate::{percentiles, sentence};

/// The number of clients, spread over all members.
const CLIENTS: usize = 16;

/// The clusters take turns, so that other work on the machine disturbs all of them.
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_millis(400);

#[derive(Clone, Copy)]
enum Request {
    Put,
    Get,
    /// A get that the member serves without asking the others, so it may be stale.
    Stale,
}

pub async fn show() -> Result<()> {
    sentence("etcd: nodes can be added to scale")?;
    let clusters = [start(1).await?, start(3).await?, start(5).await?];
    let mut times: [[Vec<Duration>; 3]; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (cluster, times) in clusters.iter().zip(&mut times) {
            for (request, times) in [Request::Put, Request::Get, Request::Stale].iter().zip(times) {
                times.extend(load(cluster, *request).await?);
            }
        }
    }
    say!("  {CLIENTS} clients, spread over all members, which share this machine")?;
    say!("           puts                 gets                 gets that may be stale")?;
    say!("  members  per second   p50     per second   p50     per second   p50")?;
    let rate = |times: &Vec<Duration>| times.len() as f64 / (ROUND * ROUNDS).as_secs_f64();
    for (cluster, times) in clusters.iter().zip(&mut times) {
        let mut line = format!("  {:>7}", cluster.members.len());
        for times in times {
            let [p50, _] = percentiles(times);
            line += &format!("  {:>10.0}  {p50:>4.1} ms", rate(times));
        }
        say!("{line}")?;
    }
    let [[alone, ..], _, [five, ..]] = &times;
    ensure!(rate(five) < rate(alone), "unexpected: five members write faster than one");
    say!("false for writes: more members only survive more failures")
}

/// Sends requests for one round. Returns how long each of them has taken.
async fn load(cluster: &Cluster, request: Request) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let member = &cluster.members[number % cluster.members.len()];
        let mut client = connect_to([member.endpoint()]).await?;
        tasks.spawn(async move {
            let (mut times, end) = (Vec::new(), Instant::now() + ROUND);
            while Instant::now() < end {
                let begin = Instant::now();
                match request {
                    Request::Put => {
                        let put = client.put(format!("key{number}"), "value", None);
                        within(10 * REQUEST_TIMEOUT, put).await?;
                    }
                    Request::Get => {
                        within(10 * REQUEST_TIMEOUT, client.get("key0", None)).await?;
                    }
                    Request::Stale => {
                        let options = Some(GetOptions::new().with_serializable());
                        within(10 * REQUEST_TIMEOUT, client.get("key0", options)).await?;
                    }
                }
                times.push(begin.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}
