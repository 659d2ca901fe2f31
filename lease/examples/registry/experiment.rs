//! The experiment of the exercise `registry`: of six services, three end.
//!
//! Repair `yours.rs`, not this file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, GetOptions, KeyValue, PutOptions, WatchOptions};
use etcd_server::Server;
use exercise::{
    BoxFuture, NOTHING, PausedRequest, Scene, Sign, Timeline, Verdict, Wire, blocking, broken,
    connect_by_wire_to, connect_to, gave_up, held,
};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

/// The functions that are tried.
pub type Register = for<'a> fn(&'a mut Client, String, &'a str, i64) -> BoxFuture<'a, Entry>;
pub type Update = for<'a> fn(&'a mut Client, &'a Entry, &'a str) -> BoxFuture<'a, ()>;

/// The entry of a service. The experiment renews the lease that is named here.
pub struct Entry {
    pub key: String,
    pub lease: i64,
}

/// Not the shortest one, which etcd grants in place of any shorter one.
const TTL: i64 = 3;
/// How long etcd may take to end a lease that nobody renews.
const PATIENCE: Duration = Duration::from_secs(8);
const LEASED: Sign = Sign('█', '#', "its entry is on a lease");
const FOR_EVER: Sign = Sign('▒', '%', "its entry is on no lease");
const ENDS: Sign = Sign('▼', 'v', "the service ends");

/// For how long the picture shows what comes after the end.
const AFTER: Duration = Duration::from_millis(300);
/// How long etcd may take for what a function has sent before it returned.
const SETTLE: Duration = Duration::from_millis(100);
const SERVICES: usize = 6;
const ENDED: usize = 3;
const FIRST_ADDRESS: &str = "127.0.0.1:8001";
const SECOND_ADDRESS: &str = "127.0.0.1:8002";
const LAST_ADDRESS: &str = "127.0.0.1:8003";

pub async fn run(scene: Scene, register: Register, update: Update) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let etcd = server.address();
    let mut client = connect_to(etcd).await?;
    // A run before has ended a moment ago: its lease has not run out yet.
    let left = register(&mut client, "services/1".to_owned(), "127.0.0.1:8000", TTL).await;
    let left = left.or_else(gave_up)?.lease;
    sleep(SETTLE).await;
    let below = WatchOptions::new().with_prefix();
    let mut events =
        within(REQUEST_TIMEOUT, client.watch("", Some(below))).await.context("watch failed")?;

    spawn_local(draw(client.clone(), scene.timeline.clone()));
    let mut entries = Vec::new();
    let renewed = Rc::new(RefCell::new(Vec::new()));
    spawn_local(renew(client.clone(), Rc::clone(&renewed)));
    for number in 1..=SERVICES {
        let key = format!("services/{number}");
        let entry = register(&mut client, key, FIRST_ADDRESS, TTL).await;
        let entry = entry.or_else(|error| match number {
            1 => broken(
                format!("a service registers again before its first lease has run out: {error:#}"),
                "what of the run before is still there, and which of your requests it is in the way of",
            ),
            _ => gave_up(error),
        })?;
        check_lease(&mut client, &entry, &entries).await?;
        renewed.borrow_mut().push(entry.lease);
        entries.push(entry);
    }
    sleep(SETTLE).await;
    let found = entries_now(&mut client).await?;
    if entries[0].lease == left || found.iter().any(|kv| kv.lease() == left) {
        return broken(
            "an entry is on the lease of the run before, which nobody renews",
            "what register does where there is an entry already",
        );
    }
    let count = found.len();
    if count < SERVICES {
        return broken(
            format!("{SERVICES} services have registered, {count} entries are there"),
            "what register writes",
        );
    }
    let (ended, living) = entries.split_at(ENDED);
    for address in [SECOND_ADDRESS, LAST_ADDRESS] {
        for entry in &entries {
            update(&mut client, entry, address).await.or_else(gave_up)?;
        }
        sleep(SETTLE).await;
    }
    writeln!(stdout(), "{SERVICES} services register, and then change their address")?;
    let found = entries_now(&mut client).await?;
    let moved =
        |kv: &&KeyValue| kv.lease() != 0 && !entries.iter().any(|one| one.lease == kv.lease());
    let count = found.iter().filter(moved).count();
    if count > 0 {
        return broken(
            format!("{count} entries are on leases that no Entry names, and nobody renews those"),
            "the lease that an entry is on, after each put, and who renews it",
        );
    }

    renewed.borrow_mut().drain(..ENDED);
    (1..=ENDED).for_each(|number| scene.timeline.mark(&row(number), ENDS));
    writeln!(stdout(), "{ENDED} of them end; only the leases of the others are renewed")?;
    for entry in ended {
        wait_for_end(&mut client, entry.lease).await?;
    }
    writeln!(stdout(), "the leases that nobody renews have run out")?;

    let found = entries_now(&mut client).await?;
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
    let old = there.iter().filter(|kv| kv.value() != LAST_ADDRESS.as_bytes()).count();
    if old > 0 {
        return broken(format!("{old} entries have an old address"), "what update writes");
    }

    // The first event that is not about a service comes after all that are.
    put(&mut client, "end").await?;
    let (mut gone, mut without, mut elsewhere) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    'events: while let Some(response) = within(REQUEST_TIMEOUT, events.message()).await? {
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            let key = kv.key().to_vec();
            if key == b"end" {
                break 'events;
            }
            let owner = |entry: &&Entry| entry.key.as_bytes() == key;
            match event.event_type() {
                EventType::Delete if living.iter().any(|entry| owner(&entry)) => gone.insert(key),
                EventType::Delete => false,
                EventType::Put if kv.lease() == 0 => without.insert(key),
                EventType::Put => {
                    let named = entries.iter().find(owner).map(|entry| entry.lease);
                    named != Some(kv.lease()) && elsewhere.insert(key)
                }
            };
        }
    }
    if !gone.is_empty() {
        return broken(
            format!("{} entries of services that live were gone for a moment", gone.len()),
            "what others see between the requests of your code",
        );
    }
    if !without.is_empty() {
        return broken(
            format!("{} entries were on no lease for a moment", without.len()),
            "what stays for ever if a service ends between the requests of your code",
        );
    }
    if !elsewhere.is_empty() {
        return broken(
            format!("{} entries were on another lease for a moment", elsewhere.len()),
            "the lease that an Entry names, and the one that its key is on",
        );
    }

    // The service may have been frozen. It cannot know that its lease has run out.
    let updated = update(&mut client, &ended[0], LAST_ADDRESS).await;
    writeln!(stdout(), "one that had ended goes on, and changes its address")?;
    sleep(AFTER).await;
    let found = entries_now(&mut client).await?;
    if found.iter().any(|kv| kv.key() == ended[0].key.as_bytes()) {
        return broken(
            "its lease has run out, and its entry is back",
            "what etcd responds to your update, and what you do then",
        );
    }
    if updated.is_ok() {
        return broken(
            "its lease has run out, and update says that all is well",
            "what etcd responds to your update, and what you do then",
        );
    }

    writeln!(stdout(), "the network loses each request in turn")?;
    tokio::try_join!(register_with_loss(etcd, register), update_with_loss(etcd, update))?;
    held(format!("{ENDED} services have ended, and no others have lost their entries"))
}

/// A service registers, and one of its requests never arrives.
async fn register_with_loss(etcd: SocketAddr, register: Register) -> Result<()> {
    let mut other = connect_to(etcd).await?;
    for nth in 1.. {
        let (mut client, mut wire) = connect_by_wire_to(etcd).await?;
        let key = format!("others/register/{nth}");
        let name = key.clone();
        let registering = async move { register(&mut client, name, FIRST_ADDRESS, TTL).await };
        let Some((request, said)) = lose(&mut wire, nth, registering).await? else { break };
        if let Ok(entry) = said {
            check_put("register", &mut other, &entry, FIRST_ADDRESS, &request).await?;
        }
    }
    Ok(())
}

/// A service changes its address, and one of its requests never arrives.
async fn update_with_loss(etcd: SocketAddr, update: Update) -> Result<()> {
    let mut other = connect_to(etcd).await?;
    for nth in 1.. {
        let (mut client, mut wire) = connect_by_wire_to(etcd).await?;
        let lease = within(REQUEST_TIMEOUT, other.lease_grant(10 * TTL, None)).await?.id();
        let entry = Entry { key: format!("others/update/{nth}"), lease };
        let named = &entry;
        let on_lease = PutOptions::new().with_lease(lease);
        within(REQUEST_TIMEOUT, other.put(&*entry.key, FIRST_ADDRESS, Some(on_lease))).await?;
        let updating = async move { update(&mut client, named, SECOND_ADDRESS).await };
        let Some((request, said)) = lose(&mut wire, nth, updating).await? else { break };
        if said.is_ok() {
            check_put("update", &mut other, &entry, SECOND_ADDRESS, &request).await?;
        }
    }
    Ok(())
}

/// Lets a function run whose `nth` request never arrives. Returns that request, and what the function has
/// returned; or `None` if it has sent fewer.
async fn lose<T>(
    wire: &mut Wire,
    nth: usize,
    function: impl Future<Output = Result<T>>,
) -> Result<Option<(PausedRequest, Result<T>)>> {
    let limit = 5 * REQUEST_TIMEOUT;
    let lost = async {
        for _ in 1..nth {
            wire.response(1).await?;
        }
        let request = wire.request().await;
        wire.open();
        request
    };
    match timeout(limit, async { tokio::join!(lost, function) }).await {
        Ok((lost, said)) => Ok(lost.map(|request| (request, said))),
        Err(_) => broken(
            format!("what the network has lost is still waited for after {limit:?}"),
            "which of your requests has no limit",
        ),
    }
}

/// Checks that the entry is as a function has left it that has returned no error.
async fn check_put(
    function: &str,
    client: &mut Client,
    entry: &Entry,
    address: &str,
    lost: &PausedRequest,
) -> Result<()> {
    let found =
        within(REQUEST_TIMEOUT, client.get(&*entry.key, None)).await.context("get failed")?;
    let kv = found.kvs().first();
    let what = format!("a request was lost, and {function} says that all is well");
    match kv {
        Some(kv) if kv.value() == address.as_bytes() && kv.lease() == entry.lease => Ok(()),
        Some(kv) if kv.value() == address.as_bytes() => broken(
            format!("{what}, but the entry is not on the lease of its Entry"),
            "the lease that an entry is on, after each put",
        ),
        _ if !lost.is_given_up() => broken(
            format!("{what}, before etcd has responded"),
            "what your code waits for before it returns",
        ),
        _ => broken(what, "what your code does with an error"),
    }
}

fn row(service: impl std::fmt::Display) -> String {
    format!("service {service}")
}

/// Draws what becomes of each entry: a row for each service.
async fn draw(mut client: Client, timeline: Timeline) -> Result<()> {
    (1..=SERVICES).for_each(|number| timeline.note(&row(number), NOTHING));
    let below = WatchOptions::new().with_prefix();
    let watch = client.watch("services/", Some(below));
    let mut stream = within(REQUEST_TIMEOUT, watch).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            let service = row(kv.key_str()?.trim_start_matches("services/"));
            timeline.note(
                &service,
                match event.event_type() {
                    EventType::Delete => NOTHING,
                    EventType::Put if kv.lease() == 0 => FOR_EVER,
                    EventType::Put => LEASED,
                },
            );
        }
    }
    Ok(())
}

/// Checks that the lease that an entry names is as it was ordered, and of this service alone.
async fn check_lease(client: &mut Client, entry: &Entry, others: &[Entry]) -> Result<()> {
    if others.iter().any(|other| other.lease == entry.lease) {
        return broken(
            "two services have the same lease: each of them keeps the entry of the other",
            "what an entry must go with",
        );
    }
    let lease = within(REQUEST_TIMEOUT, client.lease_time_to_live(entry.lease, None)).await?;
    match lease.granted_ttl() {
        TTL => Ok(()),
        0 => broken(
            "an Entry names a lease that etcd does not know",
            "the response that has the number of the lease",
        ),
        other => broken(
            format!("etcd has granted a lease of {other} s, and the service wants {TTL} s"),
            "what your code sends to etcd for a lease",
        ),
    }
}

async fn put(client: &mut Client, key: &str) -> Result<()> {
    within(REQUEST_TIMEOUT, client.put(key, "", None)).await.context("put failed")?;
    Ok(())
}

/// Renews the leases of the services that live.
async fn renew(mut client: Client, leases: Rc<RefCell<Vec<i64>>>) {
    loop {
        let leases = leases.borrow().clone();
        for lease in leases {
            // If the lease is gone, so is the entry, which is noticed.
            let _ = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await;
        }
        sleep(Duration::from_millis(400)).await;
    }
}

async fn entries_now(client: &mut Client) -> Result<Vec<KeyValue>> {
    let below = GetOptions::new().with_prefix();
    let found = within(REQUEST_TIMEOUT, client.get("services/", Some(below)))
        .await
        .context("get failed")?;
    Ok(found.kvs().to_vec())
}

/// Waits until etcd knows nothing of the lease any more, nor of the keys on it.
async fn wait_for_end(client: &mut Client, lease: i64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = within(REQUEST_TIMEOUT, client.lease_time_to_live(lease, None)).await?;
        if left.granted_ttl() == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return broken(
                format!(
                    "a service has ended, and {PATIENCE:?} later its lease of {TTL} s is still there"
                ),
                "what your code goes on with in the background: a service that ends may not renew",
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
}
