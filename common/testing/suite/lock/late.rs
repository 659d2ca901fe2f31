//! The queue while requests and responses are paused, lost, late and repeated, and while callers
//! give up at any moment.
//!
//! ```text
//! LATE_SEED=7 cargo test -p suite lock::late -- --nocapture
//! ```
//!
//! Six tasks share three sessions, and each session has a network of its own with random faults. No
//! session is lost, so exclusion must be strict. After each round the queue must be empty, and it
//! must stay empty when the requests of callers that have given up arrive.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::GetOptions;
use etcd_server::{Proxy, Server};
use fastrand::Rng;
use lock::{Mutex, Session};
use tokio::time::{sleep, timeout};

use super::support::*;

#[tokio::test]
async fn holders_exclude_each_other_and_leave_no_key() -> Result<()> {
    let seed = seed("LATE_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    run(seed, 30).await
}

#[tokio::test]
#[ignore = "takes 20 minutes"]
async fn torture_by_late_requests() -> Result<()> {
    for seed in seed("LATE_SEED")?.unwrap_or(1)..=100 {
        run(seed, 50).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    inside: Cell<bool>,
    tokens: RefCell<HashSet<i64>>,
}

async fn run(seed: u64, rounds: usize) -> Result<()> {
    println!("LATE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let seen = Seen::default();
    let (mut proxies, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let proxy = Proxy::to(etcd.address())?;
        sessions.push(Session::open(&connect_by(&proxy).await?, LONG).await?);
        proxies.push(proxy);
    }
    for _ in 0..rounds {
        let mut dice = random.fork();
        let mut task = |number| contend(&sessions[number], &seen, dice.fork());
        let tasks =
            async { tokio::try_join!(task(0), task(0), task(1), task(1), task(2), task(2)) };
        let faults = async {
            sleep(Duration::from_millis(random.u64(..100))).await;
            for proxy in &proxies {
                match random.u8(..7) {
                    0..=2 => proxy.pause_requests(),
                    3 => proxy.pause_responses(),
                    4 => proxy.lose_responses(),
                    5 => proxy.cut(),
                    _ => proxy.delay_responses(Duration::from_millis(random.u64(..50))),
                }
                sleep(Duration::from_millis(random.u64(..20))).await;
                if random.bool() {
                    proxy.disconnect(); // the next attempt is carried out before the paused one
                }
            }
            sleep(Duration::from_millis(random.u64(..80))).await;
        };
        tokio::select! {
            ended = tasks => drop(ended?),
            () = faults => {} // dropping `tasks` aborts all callers
        }
        seen.inside.set(false);
        proxies.iter().for_each(Proxy::disconnect); // new connections work
        queue_of(&mut client, 0).await?;
        proxies.iter().for_each(Proxy::mend); // the paused requests arrive
        sleep(Duration::from_millis(50)).await;
        queue_of(&mut client, 0).await?; // a key put by a late request would stay
    }
    println!("{} acquired", seen.tokens.borrow().len());
    ensure!(
        seen.tokens.borrow().len() > rounds,
        "the lock was acquired too rarely to prove anything"
    );
    ensure!(sessions.iter().all(Session::is_alive), "a session is lost");
    let marks = client.get("session!", Some(GetOptions::new().with_prefix())).await?;
    ensure!(marks.count() <= 3, "{} marks", marks.count());
    Ok(())
}

/// Asks for the lock in every way, and often gives up.
async fn contend(session: &Session, seen: &Seen, mut random: Rng) -> Result<()> {
    let mutex = Mutex::new(session, NAME);
    loop {
        let patience = match random.u8(..3) {
            0 => Duration::from_micros(random.u64(..2000)),
            1 => Duration::from_millis(random.u64(..2000)),
            _ => PATIENCE,
        };
        let guard = match random.u8(..4) {
            0 => timeout(patience, mutex.try_lock()).await.ok().transpose()?.flatten(),
            _ => timeout(patience, mutex.lock()).await.ok().transpose()?,
        };
        let Some(guard) = guard else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        ensure!(!seen.inside.replace(true), "there are two holders");
        ensure!(seen.tokens.borrow_mut().insert(guard.token()), "a token is granted twice");
        sleep(Duration::from_micros(random.u64(..3000))).await;
        seen.inside.set(false);
        match random.u8(..4) {
            0 => drop(guard),
            1 => drop(timeout(Duration::from_micros(random.u64(..2000)), guard.unlock()).await),
            _ => ensure!(guard.unlock().await?, "the lock was lost"),
        }
    }
}
