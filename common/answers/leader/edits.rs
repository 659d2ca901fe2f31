//! Answers that are a small edit away from another answer. All but the first three are wrong.

edits::edits! {
    "solution.rs";

    // Right: asks for the lock now and then instead of waiting in its queue.
    right_try: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let mutex = Mutex::new(&session, lock);
            let _guard = loop {
                if let Some(guard) = mutex.try_lock().await? {
                    break guard;
                }
                sleep(Duration::from_millis(100)).await;
            };
        };
    // Right: asks for the lock now and then, each time in a new session.
    right_open: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let Some(_guard) = Mutex::new(&session, lock).try_lock().await? else { return Ok(()) };
        };
    // Right: leaves the pauses to `Session::open`, which fails only after attempts with pauses.
    right_pause: { sleep(Duration::from_millis(200)).await; } => {};

    // Asks for the lock again and again without a pause, each time in a new session.
    wrong_busy_sessions: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let Some(_guard) = Mutex::new(&session, lock).try_lock().await? else { return Ok(()) };
        },
        { sleep(Duration::from_millis(200)).await; } => { tokio::task::yield_now().await; };
    // Asks for the lock again and again without a pause, in one session.
    wrong_busy: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let mutex = Mutex::new(&session, lock);
            let _guard = loop {
                if let Some(guard) = mutex.try_lock().await? {
                    break guard;
                }
            };
        };
    // Says that it leads before it has the lock.
    wrong_before_lock: { let _guard = } => { leads(true); let _guard = };
    // Drops the guard at once, which unlocks, so the next candidate leads at the same time.
    wrong_drops_guard: { let _guard = } => { let _ = };
    // Looks once a second, so it may say that it leads for a second after the loss.
    wrong_polls_seldom: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_secs(1)).await;
            }
        };
    // Looks every 0.9 s, so it may be in time by luck.
    wrong_polls: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_millis(900)).await;
            }
        };
    // Looks every 0.5 s, which is in time by luck even more often.
    wrong_polls_often: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_millis(500)).await;
            }
        };
    // Looks often, but stops the whole thread in between, so that its session isn't renewed.
    wrong_blocks_thread: { session.lost().await; } => {
            while session.is_alive() {
                std::thread::sleep(Duration::from_millis(100));
            }
        };
    // Leads even if another candidate has the lock: `try_lock` returned `None`.
    wrong_ignores_none: { let _guard = Mutex::new(&session, lock).lock().await?; }
        => { let _guard = Mutex::new(&session, lock).try_lock().await?; };
    // Closes the session before it says that it no longer leads. Without a network that takes long.
    wrong_closes_first: { leads(false); } => { let _ = session.close().await; leads(false); };
    // Gives up the lead after a second, although nothing has happened.
    wrong_takes_turns: { session.lost().await; } => { sleep(Duration::from_secs(1)).await; };
    // Asks for a longer TTL than it should, so etcd keeps the lock of a dead leader for longer.
    wrong_longer_ttl: { Session::open(client, ttl) } => { Session::open(client, ttl * 2) };
    // Says that it no longer leads, but doesn't stand again.
    wrong_stands_once: { leads(false); } => { leads(false); std::future::pending::<()>().await; };
    // Ends when it cannot open a session. While it is cut off, it never can.
    wrong_ends_on_error: { eprintln!("not a candidate: {error:#}"); } => { return Err(error); };
    // Leads for two TTLs, even if its session lives on.
    wrong_fixed_term: { session.lost().await; }
        => { let _ = tokio::time::timeout(2 * ttl, session.lost()).await; };
    // Leads for a while after the loss, in case the network comes back.
    wrong_grace: { session.lost().await; } => { session.lost().await; sleep(ttl / 2).await; };
    // Takes a lock that no other candidate wants: its name has the lease in it.
    wrong_own_lock: { Mutex::new(&session, lock) }
        => { Mutex::new(&session, format!("{lock}/{}", session.lease())) };
}

edits::edits! {
    "right_lease.rs";

    // Doesn't pause between two attempts, which fail at once while the server refuses.
    wrong_no_pause: { sleep(Duration::from_millis(200)).await; } => {};
    // Waits for a second response, but `lease_keep_alive` has read the only one.
    wrong_extra_response: { let renew = } => {
            within(NO_LIMIT, responses.message()).await?;
            let renew =
        };
}
