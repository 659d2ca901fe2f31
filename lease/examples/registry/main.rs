//! The experiment of the exercise `registry`: of six services, three end.
//!
//! Repair `yours.rs`, not this file.

mod mistake;
mod solution;
mod wrong_delete;
mod wrong_lease;
mod yours;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use exercise::{Exercise, Scene, Verdict, broken, gave_up, held};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

// Every answer has these functions. A call names the answer first: `update(answer, client, ..)`.
exercise::answers! {
    const ANSWERS = [yours, solution, mistake, wrong_delete, wrong_lease];
    async fn register(client: &mut Client, key: String, address: &str, ttl: i64) -> Result<Entry>;
    async fn update(client: &mut Client, entry: &Entry, address: &str) -> Result<()>;
}

const EXERCISE: Exercise = Exercise {
    name: "registry",
    answers: ANSWERS,
    hint: "A put replaces everything that belongs to the key, and its lease is one of these things. \
           What does a put without a lease do to the lease of the key? The section What can go wrong \
           of the chapter's README says it.",
};

/// The entry of a service. The experiment renews the lease that is named here.
pub struct Entry {
    pub key: String,
    pub lease: i64,
}

const TTL: i64 = 2;
const SERVICES: usize = 6;
const ENDED: usize = 3;
const FIRST_ADDRESS: &str = "127.0.0.1:8001";
const SECOND_ADDRESS: &str = "127.0.0.1:8002";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exercise::run(EXERCISE, experiment).await
}

async fn experiment(scene: Scene) -> Result<Verdict> {
    let mut client = scene.connect().await?;
    let below = WatchOptions::new().with_prefix();
    let mut events = within(REQUEST_TIMEOUT, client.watch(scene.key(""), Some(below)))
        .await
        .context("watch failed")?;

    let mut entries = Vec::new();
    for number in 1..=SERVICES {
        let key = scene.key(&format!("services/{number}"));
        let entry = register(scene.answer, &mut client, key, FIRST_ADDRESS, TTL).await;
        entries.push(entry.or_else(gave_up)?);
    }
    let (ended, living) = entries.split_at(ENDED);
    let leases: Vec<i64> = living.iter().map(|entry| entry.lease).collect();
    let renewing = spawn_local(renew(client.clone(), leases.clone()));
    for entry in &entries {
        let updated = update(scene.answer, &mut client, entry, SECOND_ADDRESS).await;
        updated.or_else(gave_up)?;
    }
    writeln!(stdout(), "{SERVICES} services register, and then change their address")?;
    writeln!(stdout(), "{ENDED} of them end; only the leases of the others are renewed")?;

    // Wait until every lease that nobody renews is gone, also one that no `Entry` names.
    let found = entries_in(&mut client, &scene).await?;
    let used = found.iter().map(KeyValue::lease).filter(|lease| *lease != 0);
    for lease in used.chain(ended.iter().map(|entry| entry.lease)) {
        if !leases.contains(&lease) {
            wait_for_end(&mut client, lease).await?;
        }
    }
    writeln!(stdout(), "the leases that nobody renews have run out")?;
    if renewing.is_finished()
        && let Err(error) = renewing.await?
    {
        let what = format!("the lease of a service that lives cannot be renewed: {error:#}");
        return broken(what, "what your code does with leases, apart from putting keys on them");
    }

    let found = entries_in(&mut client, &scene).await?;
    let find = |entry: &&Entry| found.iter().find(|kv| kv.key() == entry.key.as_bytes());
    let left = ended.iter().filter_map(|entry| find(&entry)).count();
    if left > 0 {
        return broken(
            format!("{ENDED} services have ended, {left} of their entries are still there"),
            "the lease that an entry is on, after each put",
        );
    }
    let there: Vec<_> = living.iter().filter_map(|entry| find(&entry)).collect();
    if there.len() < living.len() {
        return broken(
            format!("{} services live, {} of their entries are there", living.len(), there.len()),
            "the lease that an entry is on, after each put, and who renews it",
        );
    }
    let old = there.iter().filter(|kv| kv.value() != SECOND_ADDRESS.as_bytes()).count();
    if old > 0 {
        return broken(format!("{old} entries have an old address"), "what update writes");
    }
    // The first event that is not about a service comes after all that are.
    put(&mut client, &scene.key("end")).await?;
    let mut deletes = 0;
    'events: while let Some(response) = within(REQUEST_TIMEOUT, events.message()).await? {
        for event in response.events() {
            let key = event.kv().context("an event without a key")?.key();
            if key == scene.key("end").as_bytes() {
                break 'events;
            }
            let lives = living.iter().any(|entry| entry.key.as_bytes() == key);
            deletes += usize::from(lives && event.event_type() == EventType::Delete);
        }
    }
    if deletes > 0 {
        return broken(
            format!("{deletes} entries of services that live were gone for a moment"),
            "what others see between the requests of your code",
        );
    }
    held(format!("{ENDED} services have ended, and no others have lost their entries"))
}

async fn put(client: &mut Client, key: &str) -> Result<()> {
    within(REQUEST_TIMEOUT, client.put(key, "", None)).await.context("put failed")?;
    Ok(())
}

/// Renews the leases of the services that live.
async fn renew(mut client: Client, leases: Vec<i64>) -> Result<()> {
    loop {
        for lease in &leases {
            within(REQUEST_TIMEOUT, client.lease_keep_alive(*lease)).await?;
        }
        sleep(Duration::from_millis(400)).await;
    }
}

async fn entries_in(client: &mut Client, scene: &Scene) -> Result<Vec<KeyValue>> {
    let below = GetOptions::new().with_prefix();
    let found = within(REQUEST_TIMEOUT, client.get(scene.key("services/"), Some(below)))
        .await
        .context("get failed")?;
    Ok(found.kvs().to_vec())
}

/// Waits until etcd knows nothing of the lease any more, nor of the keys on it.
async fn wait_for_end(client: &mut Client, lease: i64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let left = within(REQUEST_TIMEOUT, client.lease_time_to_live(lease, None)).await?;
        if left.granted_ttl() == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("a lease of {TTL} s that nobody renews has not ended")
}
