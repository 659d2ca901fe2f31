//! The promises of a session, and what it does when it is lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_client::{Client, ConnectOptions};
use etcd_server::{Proxy, Server};
use lock::{Mutex, Session};
use tokio::runtime;
use tokio::time::{sleep, timeout};

use super::support::*;

#[tokio::test]
async fn a_waiter_without_a_lease_fails_before_its_turn() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, 3 * SHORT).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    // The waiter watches now. Only at its turn would it read the queue and miss its key.
    until(async || Ok(watchers(&etcd)? == 1)).await?;
    client.lease_revoke(s2.lease()).await?;

    // The next renewal finds out, after a third of the TTL.
    let error = timeout(2 * SHORT, waiting).await??.err().unwrap();
    assert_eq!(format!("{error:#}"), "cannot lock /my-lock/: the session is lost");
    ensure!(!s2.is_alive());
    ensure!(guard.unlock().await?);

    // Ending the session without revoking its lease, as with Go's `Orphan`.
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let s3 = Session::open(&client, SHORT).await?;
    let waiting = waiter(&Mutex::new(&s3, NAME));
    queue_of(&mut client, 2).await?;
    s3.orphan();
    ensure!(timeout(PATIENCE, waiting).await??.is_err());
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_guard_keeps_its_session_a_mutex_does_not() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let acquire = async |client: &Client| {
        let session = Session::open(client, SHORT).await?;
        Mutex::new(&session, NAME).lock().await
    };
    let guard = acquire(&client).await?;
    ensure!(timeout(2 * SHORT, guard.lost()).await.is_err(), "it is lost");
    ensure!(owns(&mut client, &guard).await?);
    ensure!(guard.unlock().await?);
    // Nothing renews the lease now.
    until(async || Ok(client.leases().await?.leases().is_empty())).await?;

    let ends: [fn(Session); 2] = [drop, |session| assert_ne!(session.orphan(), 0)];
    for end in ends {
        let session = Session::open(&client, LONG).await?;
        let mutex = Mutex::new(&session, NAME);
        end(session);
        let error = mutex.try_lock().await.err().unwrap();
        assert_eq!(format!("{error:#}"), "cannot lock /my-lock/: the session is lost");
        ensure!(mutex.lock().await.is_err());
    }
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    session.close().await?;
    ensure!(mutex.try_lock().await.is_err());
    queue_of(&mut client, 0).await
}

#[tokio::test]
async fn orphan_and_aborted_close_end_a_guards_session() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let by_proxy = connect_by(&proxy).await?;
    for orphan in [true, false] {
        let session = Session::open(&by_proxy, SHORT).await?;
        let guard = Mutex::new(&session, NAME).lock().await?;
        if orphan {
            session.orphan();
        } else {
            proxy.pause_requests();
            ensure!(timeout(SHORT / 10, session.close()).await.is_err());
        }
        timeout(SHORT / 10, guard.lost()).await?;
        queue_of(&mut client, 0).await?; // waits until the lease has expired
        proxy.mend();
    }
    Ok(())
}

#[tokio::test]
async fn a_waiter_without_its_key_gets_no_lock() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    queue_of(&mut client, 2).await?;
    let key = queue(&mut client).await?.remove(1);
    client.delete(key, None).await?;
    ensure!(guard.unlock().await?);
    ensure!(timeout(PATIENCE, waiting).await??.is_err());
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_its_ttl_until_etcd_is_frozen() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, SHORT).await?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    ensure!(timeout(2 * SHORT, session.lost()).await.is_err());
    ensure!(session.is_alive());
    ensure!(owns(&mut client, &guard).await?);

    let frozen = etcd.freeze()?;
    let begin = Instant::now();
    timeout(PATIENCE, session.lost()).await?;
    let took = begin.elapsed();
    ensure!(took < session.ttl() + Duration::from_secs(1), "{took:?}");
    drop(frozen);
    // etcd may still have the lease, but a lost session stays lost.
    queue_of(&mut client, 0).await?;
    ensure!(!session.is_alive());
    ensure!(!guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_its_users_token() -> Result<()> {
    let mut etcd = Server::start()?;
    etcd_server::add_users(&mut connect(&etcd).await?).await?;
    let anna = ConnectOptions::new().with_user("anna", "secret").with_auto_token_refresh(true);
    let client = Client::connect([etcd.endpoint()], Some(anna)).await?;
    let session = Session::open(&client, 3 * SHORT).await?;
    let before = written_to_disk(&etcd)?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    // etcd keeps login tokens in memory. After a crash it replays what it had not yet written to
    // its database, even a login, so wait until it has written. The holder sends nothing after
    // that.
    until(async || Ok(written_to_disk(&etcd)? > before)).await?;
    etcd.restart()?;
    ensure!(timeout(session.ttl(), session.lost()).await.is_err(), "it was not renewed");
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_late_renewal_does_not_revive_a_session() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, SHORT).await?;
    proxy.pause_responses();
    while session.is_alive() {
        sleep(Duration::from_millis(1)).await;
    }
    // etcd got every renewal, so it still has the lease. Now the late responses arrive.
    proxy.mend();
    ensure!(client.lease_time_to_live(session.lease(), None).await?.ttl() >= 0, "-1: it is gone");
    sleep(SHORT / 4).await;
    ensure!(!session.is_alive());
    Ok(())
}

#[test]
fn unlock_fails_if_the_sessions_runtime_is_blocked() -> Result<()> {
    let still = runtime::Builder::new_current_thread().enable_all().build()?;
    let running = runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = Server::start()?;
    let guard = still.block_on(async {
        let session = Session::open(&connect(&etcd).await?, SHORT).await?;
        Mutex::new(&session, NAME).lock().await
    })?;
    let unlocked = running.block_on(async { timeout(SHORT + 5 * SHORT, guard.unlock()).await })?;
    assert_eq!(format!("{:#}", unlocked.err().unwrap()), "cannot unlock: the session is lost");
    Ok(())
}

#[test]
fn a_paused_holders_late_write_is_refused() -> Result<()> {
    // A runtime outside of `block_on` is like a process that is frozen.
    let pausing = runtime::Builder::new_current_thread().enable_all().build()?;
    let running = runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = Server::start()?;
    let (mut client, session, guard) = pausing.block_on(async {
        let client = connect(&etcd).await?;
        let session = Session::open(&client, SHORT).await?;
        let guard = Mutex::new(&session, NAME).lock().await?;
        anyhow::Ok((client, session, guard))
    })?;

    let (second, next) = running.block_on(async {
        let client = connect(&etcd).await?;
        let session = Session::open(&client, LONG).await?;
        let guard = timeout(PATIENCE, Mutex::new(&session, NAME).lock()).await??;
        anyhow::Ok((session, guard))
    })?;
    ensure!(guard.token() < next.token());

    pausing.block_on(async {
        ensure!(!session.is_alive(), "known without waiting for anything");
        // etcd accepts a plain write from everybody.
        client.put("plain", "late", None).await?;
        ensure!(!owns(&mut client, &guard).await?);
        // A resource that remembers the largest token would refuse ours.
        let seen = next.token();
        ensure!(guard.token() < seen, "would be refused");
        ensure!(!guard.unlock().await?);
        Ok(())
    })?;
    running.block_on(async {
        ensure!(owns(&mut connect(&etcd).await?, &next).await?);
        ensure!(next.unlock().await?);
        second.close().await
    })
}
