//! The experiment of the exercise `registry`: of six services, three end.
//!
//! Repair `yours.rs`, not this file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::{Client, EventType, KeyValue, WatchOptions};
use etcd_server::Server;
use exercise::{
    BoxFuture, Change, Etcd, Fault, NOTHING, Scene, Symbol, Timeline, Verdict, becomes, blocking,
    broken, connect_intercepted, connect_to, held, returned_error, say,
};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// The functions that are tried.
pub type Register = for<'a> fn(&'a mut Client, String, &'a str, i64) -> BoxFuture<'a, Entry>;
pub type Update = for<'a> fn(&'a mut Client, &'a Entry, &'a str) -> BoxFuture<'a, ()>;

/// The entry of a service. The experiment renews the lease that is named here.
pub struct Entry {
    pub key: String,
    pub lease: i64,
}

/// Longer than the shortest TTL, which etcd grants instead of any shorter one.
const TTL: i64 = 3;
/// How long etcd may take to end a lease that nobody renews.
const PATIENCE: Duration = Duration::from_secs(8);
const LEASED: Symbol = Symbol('█', '#', "its entry is on a lease");
const FOR_EVER: Symbol = Symbol('▒', '%', "its entry is on no lease");
const ENDS: Symbol = Symbol('▼', 'v', "the service ends");

/// For how long the picture shows what comes after the end.
const AFTER: Duration = Duration::from_millis(300);
/// How long etcd may take for what a function has sent before it returned.
const SETTLE: Duration = Duration::from_millis(100);
const BELOW: &str = "services/";
const SERVICES: usize = 6;
const ENDED: usize = 3;
const FIRST_ADDRESS: &str = "127.0.0.1:8001";
const SECOND_ADDRESS: &str = "127.0.0.1:8002";
const LAST_ADDRESS: &str = "127.0.0.1:8003";

pub async fn run(scene: Scene, register: Register, update: Update) -> Result<Verdict> {
    let server = blocking(Server::start).await?;
    let (mut etcd, address) = (Etcd::of(&server).await?, server.address());
    let mut client = etcd.0.clone();
    // A run before has ended a moment ago: its lease has not run out yet.
    let left = register(&mut client, format!("{BELOW}1"), "127.0.0.1:8000", TTL).await;
    let left = left.or_else(returned_error)?.lease;
    sleep(SETTLE).await;
    let begin = etcd.put("begin", "").await? + 1;

    spawn_local(draw(client.clone(), scene.timeline.clone()));
    let mut entries = Vec::new();
    let renewed = Rc::new(RefCell::new(Vec::new()));
    spawn_local(renew(client.clone(), Rc::clone(&renewed)));
    for number in 1..=SERVICES {
        let entry = register(&mut client, format!("{BELOW}{number}"), FIRST_ADDRESS, TTL).await;
        let entry = entry.or_else(|error| match number {
            1 => broken(
                format!("a service registers again before its first lease has run out: {error:#}"),
                "what of the run before is still there, and which of your requests it is in the way of",
            ),
            _ => returned_error(error),
        })?;
        check_lease(&mut etcd, &entry, &entries).await?;
        renewed.borrow_mut().push(entry.lease);
        entries.push(entry);
    }
    sleep(SETTLE).await;
    let found = etcd.get_all(BELOW).await?;
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
    for address in [SECOND_ADDRESS, LAST_ADDRESS] {
        for entry in &entries {
            update(&mut client, entry, address).await.or_else(returned_error)?;
        }
        sleep(SETTLE).await;
    }
    say!("{SERVICES} services register, and then change their address")?;
    let is_known = |lease| lease == 0 || entries.iter().any(|entry| entry.lease == lease);
    let found = etcd.get_all(BELOW).await?;
    no_entries(
        found.iter().filter(|kv| !is_known(kv.lease())).map(KeyValue::key),
        "are on leases that no Entry names, and nobody renews those",
        "the lease that an entry is on, after each put, and who renews it",
    )?;

    renewed.borrow_mut().drain(..ENDED);
    (1..=ENDED).for_each(|number| scene.timeline.mark(&row(number), ENDS));
    say!("{ENDED} of them end; only the leases of the others are renewed")?;
    let (ended, living) = entries.split_at(ENDED);
    for entry in ended {
        // Then the keys on the lease are gone, too.
        if !becomes(PATIENCE, async || Ok(etcd.granted_ttl(entry.lease).await?.is_none())).await? {
            return broken(
                format!(
                    "a service has ended, and {PATIENCE:?} later its lease of {TTL} s is still there"
                ),
                "what your code goes on with in the background: a service that ends may not renew",
            );
        }
    }
    say!("the leases that nobody renews have run out")?;

    check_there(&etcd.get_all(BELOW).await?, ended, living)?;
    check_history(&etcd.history("", begin).await?, &entries)?;

    // The service may have been frozen. It cannot know that its lease has run out.
    let updated = update(&mut client, &ended[0], LAST_ADDRESS).await;
    say!("one that had ended goes on, and changes its address")?;
    sleep(AFTER).await;
    let look = "what etcd responds to your update, and what you do then";
    if etcd.get(&ended[0].key).await?.is_some() {
        return broken("its lease has run out, and its entry is back", look);
    }
    if updated.is_ok() {
        return broken("its lease has run out, and update says that all is well", look);
    }

    say!("the network loses each request in turn")?;
    let registers = async |mut client: Client, key: String| {
        Ok(async move { register(&mut client, key, FIRST_ADDRESS, TTL).await })
    };
    let updates = async |mut client: Client, key: String| {
        let mut etcd = Etcd(connect_to(address).await?);
        let lease = etcd.put_on_lease(&key, FIRST_ADDRESS, 10 * TTL).await?;
        Ok(async move {
            let entry = Entry { key, lease };
            update(&mut client, &entry, SECOND_ADDRESS).await?;
            Ok(entry)
        })
    };
    tokio::try_join!(
        lose_each(address, "register", FIRST_ADDRESS, registers),
        lose_each(address, "update", SECOND_ADDRESS, updates)
    )?;
    held(format!("{ENDED} services have ended, and no others have lost their entries"))
}

/// Checks what is there when some services have ended.
fn check_there(found: &[KeyValue], ended: &[Entry], living: &[Entry]) -> Result<()> {
    let find = |entry: &Entry| found.iter().find(|kv| kv.key() == entry.key.as_bytes());
    let left = ended.iter().filter_map(find).count();
    if left > 0 {
        return broken(
            format!("{ENDED} services have ended, {left} of their entries are still there"),
            "the lease that an entry is on, after each put",
        );
    }
    let there: Vec<_> = living.iter().filter_map(find).collect();
    if there.len() < living.len() {
        return broken(
            format!("{} services live, {} of their entries are there", living.len(), there.len()),
            "the lease that an entry is on, after each put, and who renews it",
        );
    }
    no_entries(
        there.iter().filter(|kv| kv.value() != LAST_ADDRESS.as_bytes()).map(|kv| kv.key()),
        "have an old address",
        "what update writes",
    )
}

/// Checks what was there at any moment, until some services had ended.
fn check_history(history: &[Change], entries: &[Entry]) -> Result<()> {
    let keys = |is: &dyn Fn(&Change) -> bool| -> Vec<&[u8]> {
        history.iter().filter(|change| is(change)).map(|change| change.key.as_bytes()).collect()
    };
    let is_put = |change: &Change| change.value.is_some();
    let lives = |change: &Change| entries[ENDED..].iter().any(|entry| entry.key == change.key);
    let is_own = |change: &Change| {
        entries.iter().any(|entry| entry.key == change.key && entry.lease == change.lease)
    };
    no_entries(
        keys(&|change| !is_put(change) && lives(change)),
        "of services that live were gone for a moment",
        "what others see between the requests of your code",
    )?;
    no_entries(
        keys(&|change| is_put(change) && change.lease == 0),
        "were on no lease for a moment",
        "what stays for ever if a service ends between the requests of your code",
    )?;
    no_entries(
        keys(&|change| is_put(change) && !is_own(change)),
        "were on another lease for a moment",
        "the lease that an Entry names, and the one that its key is on",
    )
}

/// Returns *broken* if there are such entries.
fn no_entries<'a>(
    keys: impl IntoIterator<Item = &'a [u8]>,
    what: &str,
    look: &'static str,
) -> Result<()> {
    match keys.into_iter().collect::<BTreeSet<_>>().len() {
        0 => Ok(()),
        count => broken(format!("{count} entries {what}"), look),
    }
}

/// Loses each request of a function in turn. If the function returns an entry, this must be in
/// etcd. `start` prepares a call with this client and key.
async fn lose_each<F: Future<Output = Result<Entry>>>(
    etcd: SocketAddr,
    function: &str,
    address: &str,
    start: impl AsyncFn(Client, String) -> Result<F>,
) -> Result<()> {
    let mut other = Etcd(connect_to(etcd).await?);
    for nth in 1.. {
        let (client, mut network) = connect_intercepted(etcd).await?;
        let call = start(client, format!("others/{function}/{nth}")).await?;
        let played = network.play(Fault::RequestLost, nth, call, async || Ok(())).await?;
        if !played.is_staged {
            break;
        }
        let Ok(entry) = &played.said else { continue };
        let what = format!("a request was lost, and {function} says that all is well");
        match other.get(&entry.key).await? {
            Some(kv) if kv.value() == address.as_bytes() && kv.lease() == entry.lease => {}
            Some(kv) if kv.value() == address.as_bytes() => broken(
                format!("{what}, but the entry is not on the lease of its Entry"),
                "the lease that an entry is on, after each put",
            )?,
            _ if played.waits() => broken(
                format!("{what}, before etcd has responded"),
                "what your code waits for before it returns",
            )?,
            _ => broken(what, "what your code does with an error")?,
        }
    }
    Ok(())
}

fn row(service: impl std::fmt::Display) -> String {
    format!("service {service}")
}

/// Draws what becomes of each entry: a row for each service.
async fn draw(mut client: Client, timeline: Timeline) -> Result<()> {
    (1..=SERVICES).for_each(|number| timeline.note(&row(number), NOTHING));
    let watch = client.watch(BELOW, Some(WatchOptions::new().with_prefix()));
    let mut stream = within(REQUEST_TIMEOUT, watch).await?;
    while let Some(response) = within(NO_LIMIT, stream.message()).await? {
        ensure!(!response.canceled(), "watch cancelled: {}", response.cancel_reason());
        for event in response.events() {
            let kv = event.kv().context("an event without a key")?;
            let sign = match event.event_type() {
                EventType::Delete => NOTHING,
                EventType::Put if kv.lease() == 0 => FOR_EVER,
                EventType::Put => LEASED,
            };
            timeline.note(&row(kv.key_str()?.trim_start_matches(BELOW)), sign);
        }
    }
    Ok(())
}

/// Checks that the lease that an entry names is as it was ordered, and of this service alone.
async fn check_lease(etcd: &mut Etcd, entry: &Entry, others: &[Entry]) -> Result<()> {
    if others.iter().any(|other| other.lease == entry.lease) {
        return broken(
            "two services have the same lease: each of them keeps the entry of the other",
            "what an entry must go with",
        );
    }
    match etcd.granted_ttl(entry.lease).await? {
        Some(TTL) => Ok(()),
        None => broken(
            "an Entry names a lease that etcd does not know",
            "the response that has the number of the lease",
        ),
        Some(other) => broken(
            format!("etcd has granted a lease of {other} s, and the service wants {TTL} s"),
            "what your code sends to etcd for a lease",
        ),
    }
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
