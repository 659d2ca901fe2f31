//! The lock when requests are late, when members and connections fail, and when etcd refuses.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, ConnectOptions};
use etcd_server::{Cluster, Proxy, Server};
use lock::{Mutex, Session};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::support::*;

#[tokio::test]
async fn a_repeated_request_finds_the_first_result() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, 5 * SHORT).await?;

    proxy.lose_responses();
    let waiting = waiter(&Mutex::new(&session, NAME));
    queue_of(&mut client, 1).await?;
    proxy.disconnect();
    let guard = timeout(PATIENCE, waiting).await???;
    queue_of(&mut client, 1).await?;
    ensure!(owns(&mut client, &guard).await?);
    ensure!(guard.unlock().await?);

    let guard = Mutex::new(&session, NAME).lock().await?;
    proxy.lose_responses();
    let unlocking = tokio::spawn(guard.unlock());
    queue_of(&mut client, 0).await?;
    proxy.disconnect();
    ensure!(unlocking.await??, "the lock was ours until we unlocked it");
    Ok(())
}

#[tokio::test]
async fn a_request_outliving_its_sender_puts_no_key() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let mut by_proxy = connect_by(&proxy).await?;
    let session = Session::open(&by_proxy, LONG).await?;
    let mutex = Mutex::new(&session, NAME);

    // The first attempt gets stuck, as in a frozen member, and a second one is carried out.
    by_proxy.get("nothing", None).await?; // so that the connection is set up before we pause it
    proxy.pause_requests();
    let waiting = waiter(&mutex);
    until(async || Ok(proxy.has_paused())).await?;
    proxy.disconnect();
    ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    let before = carried_out(&etcd)?;
    proxy.mend();
    until(async || Ok(carried_out(&etcd)? > before)).await?;
    assert_eq!(queue(&mut client).await?, [""; 0]);

    // Now there is no second attempt: the waiter is aborted after its connection was lost. It
    // leaves a mark.
    proxy.pause_requests();
    let waiting = waiter(&mutex);
    until(async || Ok(proxy.has_paused())).await?;
    proxy.disconnect();
    until(async || Ok(by_proxy.get("nothing", None).await.is_ok())).await?;
    waiting.abort();
    let mark = format!("session!{:x}", session.lease());
    until(async || {
        let found = client.get(&*mark, None).await?;
        Ok(found.kvs().first().is_some_and(|kv| kv.version() == 2))
    })
    .await?;
    let before = carried_out(&etcd)?;
    proxy.mend();
    until(async || Ok(carried_out(&etcd)? > before)).await?;
    assert_eq!(queue(&mut client).await?, [""; 0]);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn opening_is_retried_unless_etcd_refuses() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let frozen = etcd.freeze()?;
    let opening = Session::open(&client, LONG);
    let thaw = async {
        sleep(REQUEST_TIMEOUT + Duration::from_millis(200)).await;
        drop(frozen);
    };
    ensure!(tokio::join!(opening, thaw).0?.is_alive());

    let begin = Instant::now();
    let error = Session::open(&client, Duration::from_secs(1 << 40)).await.err().unwrap();
    assert_eq!(format!("{error:#}"), "cannot open a session: etcdserver: too large lease TTL");
    ensure!(begin.elapsed() < CONNECT_TIMEOUT);
    Ok(())
}

#[tokio::test]
async fn holder_and_waiter_survive_a_crash_and_compaction() -> Result<()> {
    let mut etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    until(async || Ok(watchers(&etcd)? == 1)).await?;

    let past = revision(&mut client).await?;
    client.compact(past, None).await?;
    etcd.restart()?;
    let mut client = connect(&etcd).await?;
    client.put("other", "", None).await?;
    // The end of its watch has not made the waiter believe that the lock is free.
    until(async || Ok(watchers(&etcd)? == 1)).await?;
    ensure!(owns(&mut client, &guard).await?);
    ensure!(!waiting.is_finished());
    ensure!(guard.unlock().await?);
    ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_waiter_leaving_during_an_outage_leaves_no_key() -> Result<()> {
    let mut etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    queue_of(&mut client, 2).await?;

    etcd.kill()?;
    waiting.abort();
    etcd.restart()?;
    let mut client = connect(&etcd).await?;
    queue_of(&mut client, 1).await?;
    ensure!(owns(&mut client, &guard).await?);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_frozen_member_costs_no_session_and_no_lock() -> Result<()> {
    let cluster = Cluster::start()?;
    let leader = cluster.leader().await?;
    let endpoints = cluster.endpoints();
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let client = Client::connect(&endpoints, None).await?;
    // Each session renews through a member of its own choice, some through the frozen member.
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(Session::open(&client, 3 * SHORT).await?);
    }

    let _frozen = cluster.members[(leader + 1) % 3].freeze()?;
    let begin = Instant::now();
    // After this time, a session that could not be renewed would be lost.
    while begin.elapsed() < 3 * SHORT {
        let guard = timeout(PATIENCE, Mutex::new(&sessions[0], NAME).lock()).await??;
        let waiting = waiter(&Mutex::new(&sessions[1], NAME));
        ensure!(guard.unlock().await?);
        ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    }
    let lost = sessions.iter().filter(|session| !session.is_alive()).count();
    assert_eq!(lost, 0);
    Ok(())
}

// ---- A slow etcd, and an etcd that refuses

#[tokio::test]
async fn a_session_tolerates_late_responses() -> Result<()> {
    let etcd = Server::start()?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, Duration::from_secs(5)).await?;
    proxy.delay_responses(Duration::from_secs(1));
    ensure!(timeout(session.ttl() + SHORT, session.lost()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn opening_and_locking_tolerate_slow_responses() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    proxy.delay_responses(REQUEST_TIMEOUT * 11 / 10);
    let by_proxy = connect_by(&proxy).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&by_proxy, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    queue_of(&mut client, 2).await?;
    ensure!(guard.unlock().await?);
    ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    s2.close().await
}

#[tokio::test]
async fn a_full_etcd_is_reported_and_unlock_works() -> Result<()> {
    let etcd = Server::start_with(&["--quota-backend-bytes=65536"])?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let text = loop {
        if let Err(error) = client.put("big", vec![0; 10_000], None).await {
            break error.to_string();
        }
    };
    ensure!(text.contains("database space exceeded"), "{text}");

    let before = received(&etcd)?;
    let mutex = Mutex::new(&s2, NAME);
    let full = "cannot lock /my-lock/: etcdserver: mvcc: database space exceeded";
    let error = timeout(PATIENCE, mutex.lock()).await?.err().unwrap();
    assert_eq!(format!("{error:#}"), full);
    let error = timeout(PATIENCE, mutex.try_lock()).await?.err().unwrap();
    assert_eq!(format!("{error:#}"), full);
    ensure!(received(&etcd)? - before <= 4, "it asks on");
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn unlock_on_a_full_etcd_reports_the_outcome() -> Result<()> {
    let etcd = Server::start_with(&["--quota-backend-bytes=65536"])?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, LONG).await?;
    // The join is sent twice, so that one of the two may arrive later.
    proxy.lose_responses();
    let waiting = waiter(&Mutex::new(&session, NAME));
    queue_of(&mut client, 1).await?;
    proxy.disconnect();
    let guard = timeout(PATIENCE, waiting).await???;

    while client.put("big", vec![0; 10_000], None).await.is_ok() {}
    ensure!(guard.unlock().await?, "it was ours until we unlocked it");
    queue_of(&mut client, 0).await?;

    // The repeated request may still be on its way, so the next attempt has to raise the mark.
    let error = Mutex::new(&session, NAME).try_lock().await.err().unwrap();
    ensure!(format!("{error:#}").ends_with("database space exceeded"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_corrupt_member_is_reported_at_once() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let mut alarm = AlarmOptions::new();
    alarm.with_member(client.status().await?.header().unwrap().member_id());
    client.alarm(AlarmAction::Activate, AlarmType::Corrupt, Some(alarm)).await?;

    let before = received(&etcd)?;
    let error = timeout(PATIENCE, Mutex::new(&s2, NAME).lock()).await?.err().unwrap();
    assert_eq!(format!("{error:#}"), "cannot lock /my-lock/: etcdserver: corrupt cluster");
    let error = timeout(PATIENCE, guard.unlock()).await?.err().unwrap();
    assert_eq!(format!("{error:#}"), "cannot unlock: etcdserver: corrupt cluster");
    ensure!(received(&etcd)? - before <= 3, "it asks on");
    Ok(())
}

#[tokio::test]
async fn locking_works_while_roles_change() -> Result<()> {
    locks_while_roles_change(&[], Duration::from_millis(2), 100).await
}

#[tokio::test]
async fn locking_works_while_jwts_become_outdated() -> Result<()> {
    let mut key = NamedTempFile::new()?;
    key.write_all(b"no secret")?;
    let jwt = format!("--auth-token=jwt,priv-key={},sign-method=HS256", key.path().display());
    locks_while_roles_change(&[&jwt, "--bcrypt-cost=4"], Duration::from_millis(20), 20).await
}

async fn locks_while_roles_change(flags: &[&str], pause: Duration, locks: u32) -> Result<()> {
    let etcd = Server::start_with(flags)?;
    etcd_server::add_users(&mut connect(&etcd).await?).await?;
    let named = |name| {
        let user = ConnectOptions::new().with_user(name, "secret").with_auto_token_refresh(true);
        Client::connect([etcd.endpoint()], Some(user))
    };
    let (mut root, anna) = (named("root").await?, named("anna").await?);
    let session = Session::open(&anna, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let change = async {
        for number in 0.. {
            if root.role_add(format!("role{number}")).await.is_err() {
                root.refresh_token().await?;
            }
            sleep(pause).await;
        }
        anyhow::Ok(())
    };
    let lock = async {
        for _ in 0..locks {
            ensure!(mutex.lock().await?.unlock().await?);
        }
        Ok(())
    };
    tokio::select! {
        done = timeout(PATIENCE, lock) => done?,
        changed = change => changed,
    }
}

#[tokio::test]
async fn closing_is_retried() -> Result<()> {
    let mut etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let _guard = Mutex::new(&session, NAME).lock().await?;
    etcd.kill()?;
    let closing = tokio::spawn(session.close());
    sleep(Duration::from_millis(200)).await; // the first attempts are refused
    etcd.restart()?;
    timeout(PATIENCE, closing).await???;
    queue_of(&mut client, 0).await?;

    // The first attempt is carried out, but its response is lost.
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, LONG).await?;
    proxy.lose_responses();
    let closing = tokio::spawn(session.close());
    until(async || Ok(client.leases().await?.leases().is_empty())).await?;
    proxy.disconnect();
    timeout(PATIENCE, closing).await???;

    // A lease that was already gone is an error.
    let session = Session::open(&client, LONG).await?;
    client.lease_revoke(session.lease()).await?;
    let error = session.close().await.err().unwrap();
    let gone = "cannot revoke the session's lease: etcdserver: requested lease not found";
    assert_eq!(format!("{error:#}"), gone);
    Ok(())
}

// ---- Members and connections

#[cfg(unix)]
#[tokio::test]
async fn a_killed_or_frozen_leader_costs_no_session() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let ttl = Duration::from_secs(5);
    let (client, leader) = by_the_leader(&cluster).await?;
    let session = Session::open(&client, ttl).await?;
    cluster.members[leader].kill()?;
    timeout(ttl, session.close()).await??;
    cluster.members[leader].restart()?;

    let (client, leader) = by_the_leader(&cluster).await?;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Session::open(&client, ttl).await?);
    }
    let _frozen = cluster.members[leader].freeze()?;
    sleep(ttl + SHORT).await; // a session that was not renewed would be lost by then
    ensure!(sessions.iter().all(Session::is_alive), "a session is lost");
    for session in sessions {
        timeout(ttl, session.close()).await??;
    }
    Ok(())
}

/// Returns a client that tries the leader first, and the leader's index.
#[cfg(unix)]
async fn by_the_leader(cluster: &Cluster) -> Result<(Client, usize)> {
    let leader = cluster.leader().await?;
    let endpoints = [0, 1, 2].map(|n| cluster.members[(leader + n) % 3].address().to_string());
    Ok((common::connect_to(endpoints).await?, leader))
}

#[cfg(unix)]
#[tokio::test]
async fn waiters_on_a_frozen_member_find_a_free_lock() -> Result<()> {
    let cluster = Cluster::start()?;
    let leader = cluster.leader().await?;
    let (mut guards, mut waiting) = (Vec::new(), Vec::new());
    let holder = common::connect_to([cluster.members[leader].address().to_string()]).await?;
    let session = Session::open(&holder, LONG).await?;
    let endpoints = cluster.endpoints();
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let mut sessions = Vec::new();
    // Each waiter watches through a member of its own choice, some through the frozen member.
    for number in 0..9 {
        let name = format!("lock{number}");
        guards.push(Mutex::new(&session, &name).lock().await?);
        let client = Client::connect(&endpoints, None).await?;
        let waits = Session::open(&client, LONG).await?;
        waiting.push(waiter(&Mutex::new(&waits, &name)));
        sessions.push(waits);
    }
    for member in &cluster.members {
        until(async || Ok(watchers_at(member.address())? > 0)).await?;
    }
    let _frozen = cluster.members[(leader + 1) % 3].freeze()?;
    for guard in guards {
        ensure!(guard.unlock().await?);
    }
    for waiting in waiting {
        // Each waiter looks again within 3 s. An attempt at the frozen member takes 1 s.
        timeout(Duration::from_secs(12), waiting).await???.unlock().await?;
    }
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn waiters_watch_again_after_a_stall() -> Result<()> {
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

    let frozen = etcd.freeze()?;
    sleep(Duration::from_secs(6)).await; // every waiter has failed to open a new watch
    drop(frozen);
    let begin = Instant::now();
    until(async || Ok(watchers(&etcd)? == WAITERS)).await?;
    ensure!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    let begin = Instant::now();
    for waiter in waiters {
        ensure!(guard.unlock().await?);
        guard = waiter.await??;
    }
    ensure!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_canceled_watch_is_opened_again() -> Result<()> {
    let etcd = Server::start_with(&["--auth-token-ttl=1", "--bcrypt-cost=4"])?;
    etcd_server::add_users(&mut connect(&etcd).await?).await?;
    let anna = ConnectOptions::new().with_user("anna", "secret").with_auto_token_refresh(true);
    let client = Client::connect([etcd.endpoint()], Some(anna)).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    until(async || Ok(watchers(&etcd)? == 1)).await?;
    // After 3 s the waiter opens a new watch with an expired token, and etcd cancels the watch.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(watchers(&etcd)?, 1);
    ensure!(guard.unlock().await?);
    ensure!(timeout(Duration::from_secs(1), waiting).await???.unlock().await?);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_session_limits_its_requests_and_attempts() -> Result<()> {
    let etcd = Server::start()?;
    let client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let frozen = etcd.freeze()?;
    let before = tasks();
    let waiting: Vec<_> =
        (0..400).map(|number| waiter(&Mutex::new(&session, format!("lock{number}")))).collect();
    sleep(Duration::from_secs(16)).await;
    // Each lock has two tasks, the waiter's and the session's. An open attempt has one task, and
    // each of the seven attempts in this time has one in the HTTP library, which ends later. At
    // most four attempts of a request are open. The session itself has some tasks, too.
    let more = tasks() - before;
    ensure!(more <= 2 * waiting.len() + (4 + 7) * 200 + 200, "{more} tasks");

    drop(frozen);
    for waiting in waiting {
        ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    }
    Ok(())
}

#[tokio::test]
async fn waiters_using_all_streams_starve_nobody() -> Result<()> {
    let etcd = Server::start_with(&["--max-concurrent-streams=20"])?;
    let client = connect(&etcd).await?;
    let mut sessions = Vec::new();
    for _ in 0..25 {
        sessions.push(Session::open(&client, 2 * SHORT).await?);
    }
    let mut waiting = JoinSet::new();
    for session in &sessions {
        let mutex = Mutex::new(session, NAME);
        waiting.spawn(async move {
            let guard = mutex.lock().await?;
            sleep(SHORT / 5).await; // all of them together take longer than two TTLs
            guard.unlock().await
        });
    }
    while let Some(served) = timeout(PATIENCE, waiting.join_next()).await? {
        ensure!(served??);
    }
    ensure!(sessions.iter().all(Session::is_alive));
    Ok(())
}
