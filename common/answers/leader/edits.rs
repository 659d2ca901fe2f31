//! Answers that are a small edit away from the solution. All but the first two are wrong.

edits::edits! {
    "solution.rs";

    // Right: asks for the lock again and again, and does not queue.
    right_try: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let mutex = Mutex::new(&session, lock);
            let _guard = loop {
                if let Some(guard) = mutex.try_lock().await? {
                    break guard;
                }
                sleep(Duration::from_millis(100)).await;
            };
        };

    // Right: opens a session each time.
    right_open: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let Some(_guard) = Mutex::new(&session, lock).try_lock().await? else { return Ok(()) };
        };

    // No pause between two attempts, with a session for each, or with one.
    wrong_open: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let Some(_guard) = Mutex::new(&session, lock).try_lock().await? else { return Ok(()) };
        },
        { sleep(Duration::from_millis(200)).await; } => { tokio::task::yield_now().await; };
    wrong_busy: { let _guard = Mutex::new(&session, lock).lock().await?; } => {
            let mutex = Mutex::new(&session, lock);
            let _guard = loop {
                if let Some(guard) = mutex.try_lock().await? {
                    break guard;
                }
            };
        };
    // Leads before it has the lock, or when it has dropped the guard, which unlocks.
    wrong_early: { let _guard = } => { leads(true); let _guard = };
    wrong_drop: { let _guard = } => { let _ = };
    // Looks once a second, or more often.
    wrong_second: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_secs(1)).await;
            }
        };
    wrong_often: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_millis(900)).await;
            }
        };
    wrong_half: { session.lost().await; } => {
            while session.is_alive() {
                sleep(Duration::from_millis(500)).await;
            }
        };
    // The same without an await: the session's renewals stand still, too.
    wrong_thread: { session.lost().await; } => {
            while session.is_alive() {
                std::thread::sleep(Duration::from_millis(100));
            }
        };
    // Leads whether it has got the lock or not.
    wrong_try: { let _guard = Mutex::new(&session, lock).lock().await?; }
        => { let _guard = Mutex::new(&session, lock).try_lock().await?; };
    // Ends the session first, which takes long without a network.
    wrong_close: { leads(false); } => { let _ = session.close().await; leads(false); };
    // Lets others lead, too.
    wrong_turns: { session.lost().await; } => { sleep(Duration::from_secs(1)).await; };
    // etcd keeps the lock for longer than it should.
    wrong_ttl: { Session::open(client, ttl) } => { Session::open(client, ttl * 2) };
    // Knows that it does not lead any more, and does not stand again.
    wrong_leave: { leads(false); } => { leads(false); std::future::pending::<()>().await; };
    // One that was cut off tries to come back once, while it is still cut off.
    wrong_once: { eprintln!("not a candidate: {error:#}"); } => { return Err(error); };
    // Leads for a while, whatever the session says.
    wrong_term: { session.lost().await; } => { let _ = tokio::time::timeout(2 * ttl, session.lost()).await; };
    // Waits a little longer, to be sure.
    wrong_grace: { session.lost().await; } => { session.lost().await; sleep(ttl / 2).await; };
    // Each has a lock of its own.
    wrong_own: { Mutex::new(&session, lock) }
        => { Mutex::new(&session, format!("{lock}/{}", session.lease())) };
}

edits::edits! {
    "right_lease.rs";

    // Waits for a response that has been read already.
    wrong_reads: { let renew = } => {
            within(NO_LIMIT, responses.message()).await?;
            let renew =
        };
}
