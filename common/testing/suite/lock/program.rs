//! The chapter's program when it is interrupted or killed, and what it leaves in etcd.
#![cfg(unix)] // the signals are Unix's

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_client::{Client, PutOptions};
use etcd_server::Server;
use lock::{Guard, Mutex, Session};
use tokio::time::{sleep, timeout};

use super::support::*;

#[tokio::test]
async fn ctrl_c_and_sigterm_close_both_sessions() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let _guard = Mutex::new(&session, NAME).lock().await?;
    for signal in ["INT", "TERM"] {
        let program = program(&etcd)?;
        queue_of(&mut client, 2).await?;
        testing::signal(signal, program.id())?;
        let (lines, ended) = program.end()?;
        assert_eq!((lines, ended.code()), (vec!["Error: interrupted".to_owned()], Some(1)));
        assert_eq!(queue(&mut client).await?.len(), 1);
        assert_eq!(client.leases().await?.leases().len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_the_program_while_etcd_is_frozen() -> Result<()> {
    let etcd = Server::start()?;
    let (_session, _, _guard, once, mut client) = program_that_waits(&etcd).await?;
    let twice = program(&etcd)?;
    queue_of(&mut client, 3).await?;
    let _frozen = etcd.freeze()?;
    let begin = Instant::now();
    once.interrupt()?;
    twice.interrupt()?;
    sleep(Duration::from_millis(500)).await;
    twice.interrupt()?;
    ensure!(twice.end()?.1.code() == Some(1));
    ensure!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // Both sessions are closed at the same time, which takes their TTL of 5 s.
    ensure!(once.end()?.1.code() == Some(1));
    ensure!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_lost_session_is_reported_and_the_other_closed() -> Result<()> {
    let etcd = Server::start()?;
    let (session, _, _guard, program, mut client) = program_that_waits(&etcd).await?;
    let waiting = queue(&mut client).await?.remove(1);
    let lease = waiting.rsplit('/').next().unwrap();
    client.lease_revoke(i64::from_str_radix(lease, 16)?).await?;
    let (lines, ended) = program.end()?;
    // The session and the key are both gone, and the program may notice either first.
    let message = lines.concat();
    let causes = ["the session is lost", "our key in the queue is gone"];
    let expected = message.starts_with("Error: ") && causes.iter().any(|c| message.ends_with(c));
    ensure!(expected && ended.code() == Some(1), "{ended}: {lines:#?}");
    let leases = client.leases().await?;
    let leases: Vec<_> = leases.leases().iter().map(|lease| lease.id()).collect();
    assert_eq!(leases, [session.lease()]);
    Ok(())
}

#[tokio::test]
async fn a_killed_holder_blocks_for_about_its_ttl() -> Result<()> {
    let etcd = Server::start()?;
    let (_session, mutex, guard, program, mut client) = program_that_waits(&etcd).await?;
    let frozen = etcd_server::freeze(program.id())?;
    ensure!(guard.unlock().await?);
    ensure!(mutex.try_lock().await?.is_none(), "the program has it");

    testing::signal("KILL", program.id())?;
    drop(frozen);
    let next = waiter(&mutex);
    end_of_a_lease(&mut client, 5).await?;
    ensure!(timeout(Duration::from_secs(1), next).await???.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_killed_waiter_blocks_for_about_its_ttl() -> Result<()> {
    let etcd = Server::start()?;
    let (_session, _, guard, program, mut client) = program_that_waits(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let behind = waiter(&Mutex::new(&session, NAME));
    queue_of(&mut client, 3).await?;

    testing::signal("KILL", program.id())?;
    ensure!(guard.unlock().await?);
    end_of_a_lease(&mut client, 5).await?;
    ensure!(timeout(Duration::from_secs(1), behind).await???.unlock().await?);
    Ok(())
}

/// Starts the chapter's program while we hold the lock, and waits until it is in the queue.
async fn program_that_waits(
    etcd: &Server,
) -> Result<(Session, Mutex, Guard, testing::Program, Client)> {
    let mut client = connect(etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let guard = mutex.lock().await?;
    let program = program(etcd)?;
    queue_of(&mut client, 2).await?;
    Ok((session, mutex, guard, program, client))
}

/// Waits for one TTL by etcd's clock: until etcd has ended a lease that it grants now.
async fn end_of_a_lease(client: &mut Client, ttl: i64) -> Result<()> {
    let lease = client.lease_grant(ttl, None).await?.id();
    client.put("control", "", Some(PutOptions::new().with_lease(lease))).await?;
    until(async || Ok(client.get("control", None).await?.count() == 0)).await
}

/// Starts the chapter's program.
fn program(etcd: &Server) -> Result<testing::Program> {
    testing::Program::start(testing::program_at(etcd, "lock")?)
}
