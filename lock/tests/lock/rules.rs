//! What the lock promises: each promise against an etcd of its own.
#![allow(clippy::unwrap_used)] // also in what the tests share

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn,
    TxnOp, WatchOptions,
};
use etcd_server::{Cluster, Proxy, Server};
use lock::{Guard, Mutex, Session};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const NAME: &str = "/my-lock/";

/// The TTL of a session that must not be lost: no test takes that long.
const LONG: Duration = Duration::from_secs(60);

/// The shortest TTL that etcd grants, for sessions that shall be lost.
const SHORT: Duration = Duration::from_secs(2);

/// What happens at all happens sooner than this.
const PATIENCE: Duration = Duration::from_secs(30);

// The queue.

#[tokio::test]
async fn a_lock_costs_two_requests_two_revisions_and_no_further_key() -> Result<()> {
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

    // etcd's reads of a prefix also pass the keys deleted since the last compaction.
    let mut keys = Vec::new();
    let past = WatchOptions::new().with_prefix().with_start_revision(begin + 1);
    let mut history = client.watch(NAME, Some(past)).await?;
    while keys.len() < 40 {
        let message = history.message().await?.unwrap();
        keys.extend(message.events().iter().map(|event| event.kv().unwrap().key().to_vec()));
    }
    keys.dedup();
    assert_eq!(keys.len(), 1);
    Ok(())
}

#[tokio::test]
async fn ten_waiters_are_served_in_order_and_none_is_woken_for_another() -> Result<()> {
    const WAITERS: i64 = 10;
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let mut guard = mutex.lock().await?;
    let mut waiters = Vec::new();
    for number in 0..WAITERS {
        waiters.push(waiter(&mutex));
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
async fn tasks_that_share_a_session_or_a_mutex_exclude_each_other() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let (mutex, other) = (Mutex::new(&session, NAME), Mutex::new(&session, NAME));
    let guard = mutex.lock().await?;
    ensure!(mutex.try_lock().await?.is_none());
    ensure!(other.try_lock().await?.is_none());
    queue_of(&mut client, 1).await?;

    let (first, second) = (waiter(&mutex), waiter(&other));
    queue_of(&mut client, 3).await?;
    ensure!(guard.unlock().await?);
    let guard = tokio::select! {
        guard = first => guard??,
        guard = second => guard??,
    };
    ensure!(mutex.try_lock().await?.is_none());
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn gos_mutex_and_etcdctl_lock_take_part_in_the_queue() -> Result<()> {
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
async fn a_key_that_comes_again_behind_us_is_not_waited_for() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, LONG).await?;
    let go = Go::join(&mut client).await?;

    // Between our joining the queue and our watch, Go's mutex unlocks and locks
    // again, which it does with the same key.
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

// Leaving it.

#[tokio::test]
async fn three_hundred_waiters_aborted_at_random_moments_leave_nothing() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let mut guard = Some(Mutex::new(&session, NAME).lock().await?);
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..300 {
        if number == 150 {
            guard = None; // from here on they get the lock
            queue_of(&mut client, 0).await?;
        }
        let waiting = waiter(&mutex);
        sleep(Duration::from_micros(random.u64(..3000))).await;
        waiting.abort();
    }
    queue_of(&mut client, 0).await?;
    drop(guard);
    // Nothing that came late stays either: a new contender gets the lock.
    let other = Session::open(&client, LONG).await?;
    ensure!(timeout(PATIENCE, Mutex::new(&other, NAME).lock()).await??.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_dropped_guard_and_a_closed_session_pass_the_lock_on() -> Result<()> {
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
async fn unlocking_never_frees_the_lock_of_another() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    // The same key, but not the same lock.
    let key = queue(&mut client).await?.remove(0);
    client.delete(&*key, None).await?;
    client.put(&*key, "", None).await?;
    ensure!(!guard.unlock().await?);
    queue_of(&mut client, 1).await
}

// Lost sessions.

#[tokio::test]
async fn a_waiter_whose_lease_is_gone_hears_it_while_it_waits() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let (s1, s2) = (Session::open(&client, LONG).await?, Session::open(&client, 3 * SHORT).await?);
    let guard = Mutex::new(&s1, NAME).lock().await?;
    let before = carried_out(&etcd)?;
    let waiting = waiter(&Mutex::new(&s2, NAME));
    // It has looked twice: when it joined, and when it watched. A third look, at its turn,
    // would tell that its key is gone.
    until(async || Ok(carried_out(&etcd)? >= before + 2)).await?;
    client.lease_revoke(s2.lease()).await?;

    // The next renewal tells, after a third of the TTL.
    let error = timeout(2 * SHORT, waiting).await??.err().unwrap();
    assert_eq!(format!("{error:#}"), "cannot lock /my-lock/: the session is lost");
    ensure!(!s2.is_alive());
    ensure!(guard.unlock().await?);

    // Go's `Orphan`; a session that is dropped does the same.
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
async fn a_waiter_whose_key_is_gone_does_not_get_the_lock() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let mutex = Mutex::new(&session, NAME);
    let guard = mutex.lock().await?;
    let waiting = waiter(&mutex);
    queue_of(&mut client, 2).await?;
    let key = queue(&mut client).await?.remove(1);
    client.delete(key, None).await?;
    ensure!(guard.unlock().await?);
    ensure!(timeout(PATIENCE, waiting).await??.is_err());
    Ok(())
}

#[tokio::test]
async fn a_session_lives_beyond_its_ttl_and_is_lost_within_it() -> Result<()> {
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
    // etcd may know the lease still, but a lost session stays lost.
    queue_of(&mut client, 0).await?;
    ensure!(!session.is_alive());
    ensure!(!guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_the_token_of_its_user() -> Result<()> {
    let mut etcd = Server::start()?;
    etcd_server::add_users(&mut connect(&etcd).await?).await?;
    let anna = ConnectOptions::new().with_user("anna", "secret").with_auto_token_refresh(true);
    let client = Client::connect([etcd.endpoint()], Some(anna)).await?;
    let session = Session::open(&client, 3 * SHORT).await?;
    let before = written_to_disk(&etcd)?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    // etcd keeps its tokens in memory. After a crash it does again what it had not written yet,
    // also the login. The holder is busy and asks nothing of etcd.
    until(async || Ok(written_to_disk(&etcd)? > before)).await?;
    etcd.restart()?;
    ensure!(timeout(session.ttl(), session.lost()).await.is_err(), "it was not renewed");
    ensure!(guard.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_renewal_whose_response_is_late_does_not_bring_the_session_back() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let session = Session::open(&connect_by(&proxy).await?, SHORT).await?;
    proxy.pause_responses();
    while session.is_alive() {
        sleep(Duration::from_millis(1)).await;
    }
    // etcd has had each renewal, and would go on; the last of them is still waited for.
    proxy.mend();
    ensure!(client.lease_time_to_live(session.lease(), None).await?.ttl() >= 0, "-1: it is gone");
    sleep(SHORT / 4).await;
    ensure!(!session.is_alive());
    Ok(())
}

#[test]
fn what_a_holder_writes_after_a_long_pause_is_refused_if_the_lock_is_checked() -> Result<()> {
    // A runtime that nobody drives stands still as a stopped process does.
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
        // etcd accepts a plain write, whoever has the lock.
        client.put("plain", "late", None).await?;
        ensure!(!owns(&mut client, &guard).await?);
        // A resource that remembers the largest token it has seen.
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

// Servers and connections.

#[tokio::test]
async fn a_request_sent_again_finds_what_the_first_one_did() -> Result<()> {
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

    proxy.lose_responses();
    let unlocking = tokio::spawn(guard.unlock());
    queue_of(&mut client, 0).await?;
    proxy.disconnect();
    ensure!(unlocking.await??, "the lock was ours until we unlocked it");
    Ok(())
}

#[tokio::test]
async fn a_request_that_arrives_when_its_sender_has_left_puts_no_key() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let proxy = Proxy::to(etcd.address())?;
    let mut by_proxy = connect_by(&proxy).await?;
    let session = Session::open(&by_proxy, LONG).await?;
    let mutex = Mutex::new(&session, NAME);

    // A member is frozen with the request; another one carries out the second attempt.
    proxy.pause_requests();
    let waiting = waiter(&mutex);
    until(async || Ok(proxy.has_paused())).await?;
    proxy.disconnect();
    ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    let before = carried_out(&etcd)?;
    proxy.mend();
    until(async || Ok(carried_out(&etcd)? > before)).await?;
    assert_eq!(queue(&mut client).await?, [""; 0]);

    // There is no second attempt: the waiter goes away when it has lost its connection. What
    // it leaves is a second key beside the queue.
    proxy.pause_requests();
    let waiting = waiter(&mutex);
    until(async || Ok(proxy.has_paused())).await?;
    proxy.disconnect();
    until(async || Ok(by_proxy.get("nothing", None).await.is_ok())).await?;
    waiting.abort();
    let beside = || Some(GetOptions::new().with_prefix());
    until(async || Ok(client.get(format!("{NAME}!"), beside()).await?.count() == 2)).await?;
    queue_of(&mut client, 0).await?;
    let before = carried_out(&etcd)?;
    proxy.mend();
    until(async || Ok(carried_out(&etcd)? > before)).await?;
    assert_eq!(queue(&mut client).await?, [""; 0]);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_session_is_opened_if_not_at_the_first_attempt_but_not_if_etcd_refuses() -> Result<()> {
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
async fn holder_and_waiter_survive_a_crash_of_the_server_and_a_compaction() -> Result<()> {
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
    // It watches again: so it has looked again, and not taken the end for its turn.
    until(async || Ok(watchers(&etcd)? == 1)).await?;
    ensure!(owns(&mut client, &guard).await?);
    ensure!(!waiting.is_finished());
    ensure!(guard.unlock().await?);
    ensure!(timeout(PATIENCE, waiting).await???.unlock().await?);
    Ok(())
}

#[tokio::test]
async fn a_waiter_that_leaves_while_the_server_is_down_leaves_no_ghost() -> Result<()> {
    let mut etcd = Server::start()?;
    let mut client = connect(&etcd).await?;
    let session = Session::open(&client, LONG).await?;
    let guard = Mutex::new(&session, NAME).lock().await?;
    let waiting = waiter(&Mutex::new(&session, NAME));
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
async fn a_frozen_member_costs_neither_the_session_nor_the_lock() -> Result<()> {
    let cluster = Cluster::start()?;
    let leader = cluster.leader().await?;
    let endpoints = cluster.endpoints();
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let client = Client::connect(&endpoints, None).await?;
    // Each renews through a member of its own choice: some through the frozen one.
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(Session::open(&client, 3 * SHORT).await?);
    }

    let _frozen = cluster.members[(leader + 1) % 3].freeze()?;
    let begin = Instant::now();
    // Those that cannot be renewed are lost by then.
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

// The chapter's program.

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_and_sigterm_close_the_sessions_of_the_program() -> Result<()> {
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

#[cfg(unix)]
#[tokio::test]
async fn a_killed_holder_frees_the_lock_within_its_ttl_and_a_second() -> Result<()> {
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

#[cfg(unix)]
#[tokio::test]
async fn a_killed_waiter_holds_nobody_up_for_longer_than_its_ttl_and_a_second() -> Result<()> {
    let etcd = Server::start()?;
    let (_session, mutex, guard, program, mut client) = program_that_waits(&etcd).await?;
    let behind = waiter(&mutex);
    queue_of(&mut client, 3).await?;

    testing::signal("KILL", program.id())?;
    ensure!(guard.unlock().await?);
    end_of_a_lease(&mut client, 5).await?;
    ensure!(timeout(Duration::from_secs(1), behind).await???.unlock().await?);
    Ok(())
}

/// The chapter's program, which waits for a lock that we have.
#[cfg(unix)]
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

/// Waits for a TTL by etcd's clock: until a lease has ended that begins now.
#[cfg(unix)]
async fn end_of_a_lease(client: &mut Client, ttl: i64) -> Result<()> {
    let lease = client.lease_grant(ttl, None).await?.id();
    client.put("control", "", Some(PutOptions::new().with_lease(lease))).await?;
    until(async || Ok(client.get("control", None).await?.count() == 0)).await
}

/// Starts the chapter's program.
#[cfg(unix)]
fn program(etcd: &Server) -> Result<testing::Program> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lock"));
    command.env("ETCDCTL_ENDPOINTS", etcd.address().to_string());
    testing::Program::start(command)
}

async fn connect(etcd: &Server) -> Result<Client> {
    Ok(Client::connect([etcd.address().to_string()], None).await?)
}

async fn connect_by(proxy: &Proxy) -> Result<Client> {
    Ok(Client::connect([proxy.address().to_string()], None).await?)
}

/// A task that waits for the lock.
fn waiter(mutex: &Mutex) -> JoinHandle<Result<Guard>> {
    let mutex = mutex.clone();
    tokio::spawn(async move { mutex.lock().await })
}

/// Whether etcd carries out what demands that the lock is ours.
async fn owns(client: &mut Client, guard: &Guard) -> Result<bool> {
    let put = TxnOp::put("guarded", "", None);
    Ok(client.txn(Txn::new().when([guard.is_owner()]).and_then([put])).await?.succeeded())
}

/// The keys in the queue, oldest first.
async fn queue(client: &mut Client) -> Result<Vec<String>> {
    let oldest_first = GetOptions::new().with_sort(SortTarget::Create, SortOrder::Ascend);
    let found = client.get(format!("{NAME}/"), Some(oldest_first.with_prefix())).await?;
    Ok(found.kvs().iter().map(|kv| kv.key_str().unwrap().to_owned()).collect())
}

async fn queue_of(client: &mut Client, length: usize) -> Result<()> {
    until(async || Ok(queue(client).await?.len() == length)).await
}

async fn until(mut true_now: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    loop {
        // Also before the first look: a task that was just spawned runs meanwhile.
        sleep(Duration::from_millis(5)).await;
        if true_now().await? {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "waited in vain");
    }
}

async fn revision(client: &mut Client) -> Result<i64> {
    Ok(client.get("nothing", None).await?.header().unwrap().revision())
}

/// How many requests for transactions, reads and watches etcd has got.
fn received(etcd: &Server) -> Result<i64> {
    testing::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_msg_received_total{") && line.contains("\"Txn\"")
    })
}

/// How many transactions etcd is through with.
fn carried_out(etcd: &Server) -> Result<i64> {
    testing::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_handled_total{") && line.contains("\"Txn\"")
    })
}

/// How often etcd has written to its database.
fn written_to_disk(etcd: &Server) -> Result<i64> {
    let commits = "etcd_disk_backend_commit_duration_seconds_count";
    testing::metric(etcd.address(), |line| line.starts_with(commits))
}

fn sent_to_watchers(etcd: &Server) -> Result<i64> {
    testing::metric(etcd.address(), |line| {
        line.starts_with("grpc_server_msg_sent_total{") && line.contains("\"Watch\"")
    })
}

fn watchers(etcd: &Server) -> Result<i64> {
    testing::metric(etcd.address(), |line| line.starts_with("etcd_debugging_mvcc_watcher_total "))
}

/// What Go's `concurrency.Mutex`, and with it `etcdctl lock`, does in etcd: its key
/// is the name, a slash, and the lease in hexadecimal.
struct Go(i64);

impl Go {
    async fn join(client: &mut Client) -> Result<Go> {
        let lease = client.lease_grant(60, None).await?.id();
        Go(lease).again(client).await
    }

    async fn again(self, client: &mut Client) -> Result<Go> {
        let absent = Compare::create_revision(self.key(), CompareOp::Equal, 0);
        let put = TxnOp::put(self.key(), "", Some(PutOptions::new().with_lease(self.0)));
        ensure!(client.txn(Txn::new().when([absent]).and_then([put])).await?.succeeded());
        Ok(self)
    }

    async fn is_owner(&self, client: &mut Client) -> Result<bool> {
        Ok(queue(client).await?.first() == Some(&self.key()))
    }

    async fn unlock(&self, client: &mut Client) -> Result<()> {
        client.delete(self.key(), None).await?;
        Ok(())
    }

    fn key(&self) -> String {
        format!("{NAME}/{:x}", self.0)
    }
}
