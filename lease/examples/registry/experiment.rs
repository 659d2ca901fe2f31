//! The experiment of the exercise `registry`: of six services, three end.
//!
//! Fix `yours.rs`, not this file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, KeyValue, WatchOptions};
use etcd_server::Server;
use exercise::{
    BoxFuture, Change, Etcd, Fault, NOTHING, Scene, Symbol, Timeline, Verdict, becomes, blocking,
    broken, connect_intercepted, connect_to, held, returned_error, say, too_slow,
};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// The functions that the experiment tries.
pub type Register = for<'a> fn(&'a mut Client, String, &'a str, i64) -> BoxFuture<'a, Entry>;
pub type Update = for<'a> fn(&'a mut Client, &'a Entry, &'a str) -> BoxFuture<'a, ()>;

/// The entry of a service. The experiment renews this lease while the service runs.
pub struct Entry {
    pub key: String,
    pub lease: i64,
}

/// Longer than the shortest TTL, which etcd would grant instead of a shorter one.
const TTL: i64 = 3;
/// A TTL that doesn't run out during the experiment.
const LONG_TTL: i64 = 10 * TTL;
/// How long etcd may take to end a lease that nobody renews.
const EXPIRY_LIMIT: Duration = Duration::from_secs(8);
/// How long etcd may take to carry out the requests that a function sent before it returned.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// How long the picture goes on after the last event.
const PICTURE_TAIL: Duration = Duration::from_millis(300);

const ON_LEASE: Symbol = Symbol('█', '#', "its entry is on a lease");
const WITHOUT_LEASE: Symbol = Symbol('▒', '%', "its entry is not on a lease");
const ENDS: Symbol = Symbol('▼', 'v', "the service ends");

const PREFIX: &str = "services/";
const SERVICES: usize = 6;
const ENDED: usize = 3;
const FIRST_ADDRESS: &str = "127.0.0.1:8001";
const SECOND_ADDRESS: &str = "127.0.0.1:8002";
const LAST_ADDRESS: &str = "127.0.0.1:8003";

pub async fn run(scene: Scene, register: Register, update: Update) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let (mut etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut client = etcd.0.clone();
    // An earlier run of service 1 has just ended, so its lease and its entry are still there.
    let earlier = register(&mut client, format!("{PREFIX}1"), "127.0.0.1:8000", TTL).await;
    let earlier = earlier.or_else(returned_error)?.lease;
    sleep(SETTLE_TIME).await;
    let begin = etcd.put("begin", "").await? + 1;

    spawn_local(draw(client.clone(), scene.timeline.clone()));
    let mut entries = Vec::new();
    let renewed = Rc::new(RefCell::new(Vec::new()));
    spawn_local(renew(client.clone(), Rc::clone(&renewed)));
    for number in 1..=SERVICES {
        let entry = register(&mut client, format!("{PREFIX}{number}"), FIRST_ADDRESS, TTL).await;
        let entry = entry.or_else(|error| match number {
            1 => broken(
                format!("register returned an error when a service started again: {error:#}"),
                "what the earlier run has left in etcd, and which of your requests it stops",
            ),
            _ => returned_error(error),
        })?;
        check_lease(&mut etcd, &entry, &entries).await?;
        renewed.borrow_mut().push(entry.lease);
        entries.push(entry);
    }
    sleep(SETTLE_TIME).await;
    let found = etcd.get_all(PREFIX).await?;
    if entries[0].lease == earlier || found.iter().any(|kv| kv.lease() == earlier) {
        let what = "a service started again, but its entry is on the lease of its earlier run";
        return broken(what, "what register does if there is an entry already");
    }
    if found.len() < SERVICES {
        let what = format!("{SERVICES} services registered, but etcd has {} entries", found.len());
        return too_slow(what, "what register writes"); // A lease may have expired.
    }
    for address in [SECOND_ADDRESS, LAST_ADDRESS] {
        for entry in &entries {
            update(&mut client, entry, address).await.or_else(returned_error)?;
        }
        sleep(SETTLE_TIME).await;
    }
    say!("{SERVICES} services register, and then change their addresses")?;
    let found = etcd.get_all(PREFIX).await?;
    let is_named = |lease| lease == 0 || entries.iter().any(|entry| entry.lease == lease);
    let unnamed = found.iter().filter(|kv| !is_named(kv.lease())).map(KeyValue::key).collect();
    let look = "the lease that an entry is on after each put, and who renews it";
    no_entries(unnamed, "are on leases that no Entry names, so nobody renews them", look)?;

    renewed.borrow_mut().drain(..ENDED);
    (1..=ENDED).for_each(|number| scene.timeline.mark(&row(number), ENDS));
    say!("{ENDED} of them end, so their leases are no longer renewed")?;
    let (ended, running) = entries.split_at(ENDED);
    for entry in ended {
        // When etcd ends a lease, it deletes its keys in the same step.
        let has_expired = async || Ok(etcd.granted_ttl(entry.lease).await?.is_none());
        if !becomes(EXPIRY_LIMIT, has_expired).await? {
            let look = "what your code does in the background, even after the service has ended";
            let what = format!("{EXPIRY_LIMIT:?} after a service ended, its lease is still there");
            return too_slow(what, look);
        }
    }
    say!("their leases have expired")?;

    let history = etcd.history("", begin).await?;
    check_entries(&etcd.get_all(PREFIX).await?, ended, running)?;
    check_history(&history, &entries)?;

    say!("one of them was only frozen: it goes on, and calls update")?;
    let updated = update(&mut client, &ended[0], LAST_ADDRESS).await;
    sleep(PICTURE_TAIL).await;
    let look = "what etcd responds to your update, and what you do then";
    if etcd.get(&ended[0].key).await?.is_some() {
        return broken("a lease had expired, but update brought its entry back", look);
    }
    if updated.is_ok() {
        return broken("update returned Ok, but its lease had expired", look);
    }

    say!("a service starts again while an update of its earlier run is on its way")?;
    check_replaced(address, register, update).await?;

    say!("each request in turn is lost, or arrives late")?;
    let [registering, updating] =
        ["register", "update"].map(|function| lose_each(address, function, register, update));
    tokio::try_join!(registering, updating)?;
    held(format!("{ENDED} services ended, and only their entries disappeared"))
}

/// Checks the entries that are left after some services have ended.
fn check_entries(found: &[KeyValue], ended: &[Entry], running: &[Entry]) -> Result<()> {
    let find = |entry: &Entry| found.iter().find(|kv| kv.key() == entry.key.as_bytes());
    let left = ended.iter().filter_map(find).map(KeyValue::key).collect();
    let look = "the lease that an entry is on after each put";
    no_entries(left, "are still there, but their services have ended", look)?;
    if running.iter().any(|entry| find(entry).is_none()) {
        // On a slow machine, the experiment may have renewed the lease too late.
        return too_slow("a service runs, but its entry is gone", look);
    }
    let is_old = |kv: &&KeyValue| kv.value() != LAST_ADDRESS.as_bytes();
    let old = running.iter().filter_map(find).filter(is_old).map(KeyValue::key).collect();
    no_entries(old, "have an old address", "what update writes")
}

/// Checks how the entries changed until some services had ended.
fn check_history(history: &[Change], entries: &[Entry]) -> Result<()> {
    let keys = |is: &dyn Fn(&Change) -> bool| {
        history.iter().filter(|change| is(change)).map(|change| change.key.as_bytes()).collect()
    };
    let runs = |change: &Change| entries[ENDED..].iter().any(|entry| entry.key == change.key);
    let is_own = |change: &Change| {
        entries.iter().any(|entry| entry.key == change.key && entry.lease == change.lease)
    };
    no_entries(
        keys(&|change| change.value.is_none() && runs(change)),
        "of running services were missing for a moment",
        "what others see between the requests of your code",
    )?;
    no_entries(
        keys(&|change| change.value.is_some() && change.lease == 0),
        "were without a lease for a moment",
        "what stays in etcd if a service ends between the requests of your code",
    )?;
    no_entries(
        keys(&|change| change.value.is_some() && !is_own(change)),
        "were on another lease for a moment",
        "the lease in an Entry, and the lease that its key is on",
    )
}

/// Returns *broken* if there are any `keys`, which `what` describes.
fn no_entries(keys: BTreeSet<&[u8]>, what: &str, look: &'static str) -> Result<()> {
    match keys.len() {
        0 => Ok(()),
        count => broken(format!("{count} entries {what}"), look),
    }
}

/// Pauses the earlier run of a service before each request of its `update` in turn, while the
/// service starts again and registers. Checks that the entry of the later run stays as it is.
async fn check_replaced(etcd: SocketAddr, register: Register, update: Update) -> Result<()> {
    let mut other = Etcd(connect_to(etcd).await?);
    for nth in 1.. {
        let key = format!("replaced/{nth}");
        let lease = other.put_on_lease(&key, FIRST_ADDRESS, LONG_TTL).await?;
        let (mut client, mut network) = connect_intercepted(etcd).await?;
        let earlier = Entry { key: key.clone(), lease };
        let updating =
            spawn_local(async move { update(&mut client, &earlier, SECOND_ADDRESS).await });
        for _ in 1..nth {
            network.response(1).await;
        }
        let Some(request) = network.request().await else { break };
        let later = register(&mut other.0, key.clone(), LAST_ADDRESS, LONG_TTL).await;
        let later = later.or_else(returned_error)?;
        sleep(SETTLE_TIME).await;
        drop(request); // It passes now.
        network.open();
        let updated = updating.await?;

        let look = "what can happen before etcd carries out your update";
        match other.get(&key).await? {
            Some(kv) if kv.lease() == later.lease && kv.value() == LAST_ADDRESS.as_bytes() => {}
            _ => broken("a later run had replaced the entry, but update changed it", look)?,
        }
        if nth == 1 && updated.is_ok() {
            broken("update returned Ok, but a later run had replaced the entry", look)?;
        }
    }
    Ok(())
}

/// Loses each request of a function in turn, and lets it arrive after the function has returned. If
/// the function returns Ok, the entry must be in etcd, both before that and after it.
async fn lose_each(etcd: SocketAddr, name: &str, register: Register, update: Update) -> Result<()> {
    let mut other = Etcd(connect_to(etcd).await?);
    for nth in 1.. {
        let key = format!("lost/{name}/{nth}");
        let lease = other.put_on_lease(&key, FIRST_ADDRESS, LONG_TTL).await?;
        let (mut client, mut network) = connect_intercepted(etcd).await?;
        let call = async move {
            if name == "register" {
                return register(&mut client, key, LAST_ADDRESS, LONG_TTL).await;
            }
            let entry = Entry { key, lease };
            update(&mut client, &entry, LAST_ADDRESS).await.map(|()| entry)
        };
        let mut played = network.play(Fault::RequestLost, nth, call, async || Ok(())).await?;
        if !played.is_staged {
            break;
        }
        let waits = played.waits();
        let Ok(Entry { key, lease }) = &played.said else { continue };
        let (key, lease) = (key.clone(), *lease);
        let is_done = |kv: KeyValue| kv.value() == LAST_ADDRESS.as_bytes() && kv.lease() == lease;
        if !other.get(&key).await?.is_some_and(is_done) {
            let wait = "what your code waits for before it returns";
            let look = if waits { wait } else { "what your code does with an error" };
            broken(format!("{name} returned Ok, but its request was lost"), look)?;
        }
        played.arrive_late().await?;
        if !other.get(&key).await?.is_some_and(is_done) {
            return broken(
                format!("{name} returned Ok, then its lost request arrived late and undid that"),
                "what your code sends after an error, while the first request may be on its way",
            );
        }
    }
    Ok(())
}

fn row(service: impl std::fmt::Display) -> String {
    format!("service {service}")
}

/// Draws a row for each service, which shows its entry.
async fn draw(mut client: Client, timeline: Timeline) -> Result<()> {
    (1..=SERVICES).for_each(|number| timeline.note(&row(number), NOTHING));
    let watch = client.watch(PREFIX, Some(WatchOptions::new().with_prefix()));
    let mut stream = within(REQUEST_TIMEOUT, watch).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            let symbol = match event.event_type() {
                EventType::Delete => NOTHING,
                EventType::Put if kv.lease() == 0 => WITHOUT_LEASE,
                EventType::Put => ON_LEASE,
            };
            timeline.note(&row(kv.key_str()?.trim_start_matches(PREFIX)), symbol);
        }
    }
    Ok(())
}

/// Checks that the lease in a new entry has the TTL that the service asked for, and that no other
/// service has the same lease.
async fn check_lease(etcd: &mut Etcd, entry: &Entry, others: &[Entry]) -> Result<()> {
    if others.iter().any(|other| other.lease == entry.lease) {
        let what = "two services got the same lease, so each of them keeps the other's entry";
        return broken(what, "which services a lease belongs to");
    }
    match etcd.granted_ttl(entry.lease).await? {
        Some(TTL) => Ok(()),
        None => too_slow(
            "register returned an Entry with a lease that etcd does not know",
            "the response that tells you the number of the lease",
        ),
        Some(other) => broken(
            format!("register asked for a TTL of {TTL} s, but the lease has {other} s"),
            "what your code sends to etcd for a lease",
        ),
    }
}

/// Renews the leases of the services that run.
async fn renew(mut client: Client, leases: Rc<RefCell<Vec<i64>>>) {
    loop {
        let leases = leases.borrow().clone();
        for lease in leases {
            // An error needs no message: a lease that is gone shows in the entries.
            let _ = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await;
        }
        sleep(Duration::from_millis(400)).await;
    }
}
