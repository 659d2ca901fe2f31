//! The promises of the queue, each against an etcd of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{GetOptions, Txn, TxnOp};
use etcd_server::{Proxy, Server};
use lock::{Mutex, Session};
use tokio::time::{sleep, timeout};

use super::support::*;

// ---- In the queue

#[tokio::test]
async fn locking_costs_two_requests_and_one_key() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    ensure!(mutex.lock().await?.unlock().await?);

    let begin = revision(&mut client).await?;
    let before = received(&etcd)?;
    for _ in 0..20 {
        ensure!(mutex.lock().await?.unlock().await?);
    }
    assert_eq!(received(&etcd)? - before, 40);
    assert_eq!(revision(&mut client).await? - begin, 40);

    // A new key each time would make etcd slower: it passes deleted keys until they are compacted.
    assert_eq!(keys_since(&mut client, begin).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_hand_over_costs_three_transactions() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let mut guard = Mutex::new(&s1, NAME).lock().await?;
    let before = received(&etcd)?;
    for session in [&s2, &s1, &s2, &s1] {
        let waiting = waiter(&Mutex::new(session, NAME));
        until(async || Ok(watchers(&etcd)? == 1)).await?;
        ensure!(guard.unlock().await?);
        guard = waiting.await??;
        until(async || Ok(watchers(&etcd)? == 0)).await?;
    }
    // One puts the key, one deletes the key before it, and one reads the queue.
    assert_eq!(received(&etcd)? - before, 3 * 4);
    Ok(())
}

#[tokio::test]
async fn ten_waiters_are_served_in_order_without_extra_wakeups() -> Result<()> {
    const WAITERS: i64 = 10;
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mut guard = Mutex::new(&session, NAME).lock().await?;
    let (mut sessions, mut waiters) = (Vec::new(), Vec::new());
    for number in 0..WAITERS {
        let session = Session::open(&client, LONG).await?;
        waiters.push(waiter(&Mutex::new(&session, NAME)));
        sessions.push(session);
        queue_of(&mut client, 2 + number as usize).await?;
    }
    until(async || Ok(watchers(&etcd)? == WAITERS)).await?;

    let events = sent_to_watchers(&etcd)?;
    for waiter in waiters {
        let before = guard.token();
        ensure!(guard.unlock().await?);
        guard = waiter.await??;
        ensure!(before < guard.token());
    }
    assert_eq!(sent_to_watchers(&etcd)? - events, WAITERS);
    Ok(())
}

#[tokio::test]
async fn tasks_sharing_a_session_exclude_each_other() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let (mutex, other) = (Mutex::new(&session, NAME), Mutex::new(&session, NAME));
    let guard = mutex.lock().await?;
    ensure!(mutex.try_lock().await?.is_none());
    ensure!(other.try_lock().await?.is_none());
    queue_of(&mut client, 1).await?;

    // Every task gets the lock, and the session has one key in the queue for all of them.
    let waiting: Vec<_> = (0..1000).map(|_| waiter(&other)).collect();
    let stranger = Session::open(&client, LONG).await?;
    let next = waiter(&Mutex::new(&stranger, NAME));
    queue_of(&mut client, 2).await?;
    ensure!(guard.unlock().await?);
    let next = timeout(PATIENCE, next).await???;
    ensure!(mutex.try_lock().await?.is_none());
    ensure!(next.unlock().await?);
    let mut token = 0;
    for waiting in waiting {
        let guard = timeout(PATIENCE, waiting).await???;
        ensure!(token < guard.token());
        token = guard.token();
        ensure!(guard.unlock().await?);
    }
    // When `unlock` returns, the next task can take the lock.
    ensure!(mutex.try_lock().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn tasks_sharing_a_session_reuse_its_key() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let begin = revision(&mut client).await?;
    let turns = async || {
        for _ in 0..50 {
            ensure!(Mutex::new(&session, NAME).lock().await?.unlock().await?);
        }
        Ok(())
    };
    tokio::try_join!(turns(), turns())?;
    assert_eq!(keys_since(&mut client, begin).await?, [format!("{NAME}/{:x}", session.lease())]);
    Ok(())
}

#[tokio::test]
async fn a_failed_try_lock_reads_once_and_writes_nothing() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let mutex = Mutex::new(&s2, NAME);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let (begin, before) = (revision(&mut client).await?, received(&etcd)?);
    for _ in 0..20 {
        ensure!(mutex.try_lock().await?.is_none());
    }
    assert_eq!(received(&etcd)? - before, 20);
    assert_eq!(revision(&mut client).await?, begin);

    ensure!(guard.unlock().await?);
    let before = received(&etcd)?;
    ensure!(mutex.try_lock().await?.context("it is free")?.unlock().await?);
    assert_eq!(received(&etcd)? - before, 2);
    Ok(())
}

#[tokio::test]
async fn many_waiters_share_one_polling_limit() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    // A thousand tasks for one lock, and a task for each of two hundred others.
    let mut waiting: Vec<_> = (0..1000).map(|_| waiter(&Mutex::new(&s2, NAME))).collect();
    let mut guards = vec![Mutex::new(&s1, NAME).try_lock().await?];
    for number in 0..200 {
        let name = format!("other{number}");
        guards.push(Mutex::new(&s1, &name).try_lock().await?);
        waiting.push(waiter(&Mutex::new(&s2, name)));
    }
    until(async || Ok(watchers(&etcd)? >= 200)).await?;
    let (before, begin) = (received(&etcd)?, Instant::now());
    sleep(Duration::from_secs(5)).await; // without a limit, every waiter would look in this time
    let (looks, seconds) = (received(&etcd)? - before, begin.elapsed().as_secs_f64());
    ensure!(looks > 0, "nobody looks again");
    ensure!(looks as f64 <= 20.0 * seconds + 1.0, "{looks} looks in {seconds:.1} s");
    Ok(())
}

#[tokio::test]
async fn a_try_lock_does_not_read_the_whole_queue() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    // More keys than etcd-client accepts in one response.
    for part in 0..400 {
        let put = |n: u32| TxnOp::put(format!("{NAME}/{:0100}", part * 100 + n), "", None);
        client.txn(Txn::new().and_then((0..100).map(put).collect::<Vec<_>>())).await?;
    }
    ensure!(Mutex::new(&session, NAME).try_lock().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn making_mutexes_takes_linear_time() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    // Two sessions, because what 40,000 mutexes leave behind would slow down the 4,000.
    let (many, few) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let time = |session: &Session, times: u32, names: u32| {
        let begin = Instant::now();
        for _ in 0..times {
            let _all: Vec<_> =
                (0..names).map(|name| Mutex::new(session, format!("lock{name}"))).collect();
        }
        begin.elapsed()
    };
    // If the time is linear, both sides take equally long, so other programs disturb both alike.
    let is_linear = |_| time(&many, 1, 40_000) < 4 * time(&few, 10, 4000);
    ensure!((0..3).any(is_linear), "40,000 at once take 4 times as long as 4,000 ten times");
    Ok(())
}

#[tokio::test]
async fn gos_mutex_shares_the_queue() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);

    let go = Go::join(&mut client).await?;
    ensure!(mutex.try_lock().await?.is_none());
    let waiting = waiter(&mutex);
    queue_of(&mut client, 2).await?;
    go.unlock(&mut client).await?;
    let guard = waiting.await??;

    let go = Go::join(&mut client).await?;
    ensure!(!go.is_owner(&mut client).await?);
    let owner = &queue(&mut client).await?[0];
    ensure!(owner.starts_with(&format!("{NAME}/{:x}", session.lease())), "{owner}");
    ensure!(guard.unlock().await?);
    ensure!(go.is_owner(&mut client).await?);
    Ok(())
}

#[tokio::test]
async fn a_key_requeued_behind_us_is_ignored() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, LONG).await?;
    let go = Go::join(&mut client).await?;

    // After we have joined the queue, and before we watch, Go's mutex unlocks and locks again. It
    // uses the same key, which is now behind ours.
    proxy.lose_responses();
    let waiting = waiter(&Mutex::new(&session, NAME));
    queue_of(&mut client, 2).await?;
    go.unlock(&mut client).await?;
    let go = go.again(&mut client).await?;
    proxy.disconnect();

    let guard = timeout(PATIENCE, waiting).await???;
    ensure!(!go.is_owner(&mut client).await?);
    ensure!(guard.unlock().await?);
    Ok(())
}

// ---- Leaving the queue

#[tokio::test]
async fn waiters_aborted_at_random_leave_nothing() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let mut guard = Some(Mutex::new(&session, NAME).lock().await?);
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..300 {
        if number == 150 {
            guard = None; // from here on, the waiters get the lock
            queue_of(&mut client, 0).await?;
        }
        let waiting = waiter(&mutex);
        sleep(Duration::from_micros(random.u64(..3000))).await;
        waiting.abort();
    }
    queue_of(&mut client, 0).await?;
    drop(guard);
    // No late request has left a key either, because a new contender gets the lock.
    let other = Session::open(&client, LONG).await?;
    ensure!(timeout(PATIENCE, Mutex::new(&other, NAME).lock()).await??.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn aborted_attempts_leave_one_harmless_mark() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mut random = fastrand::Rng::with_seed(1);
    let name = |number: u32| format!("svc/db{}", number % 10);
    for number in 0..1000 {
        let limit = Duration::from_micros(random.u64(..1500));
        let _ = timeout(limit, Mutex::new(&session, name(number)).lock()).await;
    }
    for number in 0..10 {
        let mutex = Mutex::new(&session, name(number));
        ensure!(timeout(PATIENCE, mutex.lock()).await??.unlock().await?); // the earlier attempts have left by then
    }
    let all = GetOptions::new().with_all_keys().with_keys_only();
    let left = client.get("", Some(all)).await?;
    let left: Vec<_> = left.kvs().iter().map(|kv| kv.key_str()).collect::<Result<_, _>>()?;
    assert_eq!(left, [format!("session!{:x}", session.lease())]);
    // A mark of `svc/db0` below `svc/` would block `svc`.
    for name in ["svc", "svc/db1", ""] {
        let other = Session::open(&client, LONG).await?;
        ensure!(Mutex::new(&other, name).try_lock().await?.is_some(), "{name:?} is blocked");
    }
    Ok(())
}

#[tokio::test]
async fn a_guard_dropped_outside_a_runtime_unlocks() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    std::thread::spawn(move || drop(guard)).join().unwrap();
    let guard = timeout(PATIENCE, Mutex::new(&s2, NAME).lock()).await??;
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn dropping_or_closing_passes_the_lock_on() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    drop(guard);
    let guard = timeout(PATIENCE, waiting).await???;

    let waiting = waiter(&Mutex::new(&s1, NAME));
    s2.close().await?;
    ensure!(!guard.unlock().await?, "the lock went with its session");
    timeout(PATIENCE, waiting).await???.unlock().await?;
    Ok(())
}

#[tokio::test]
async fn unlock_never_frees_another_holders_lock() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    // The key has the same name, but another owner has created it.
    let key = queue(&mut client).await?.remove(0);
    client.delete(&*key, None).await?;
    client.put(&*key, "", None).await?;
    ensure!(!guard.unlock().await?);
    queue_of(&mut client, 1).await
}
