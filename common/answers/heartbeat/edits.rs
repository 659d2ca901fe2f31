//! Answers that are a small edit away from another one. All but the first two are wrong.

edits::edits! {
    "solution.rs";

    // Right: whatever has failed, it registers again, on a new lease.
    right_new: { if is_refusal(&error) || Instant::now() >= end } => {};
    // Right: renews twice in a TTL.
    right_half: { sleep(ttl / 3).await; } => { sleep(ttl / 2).await; };

    // Believes that this call goes on renewing, as Go's `KeepAlive` does.
    wrong_once: { sleep(ttl / 3).await; } => {
            let _kept = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await;
            std::future::pending::<()>().await;
        };
    // One renewal after another.
    wrong_busy: { sleep(ttl / 3).await; }
        => { sleep(std::time::Duration::from_millis(5)).await; };
    // A new lease and a put each time, and no renewal.
    wrong_put: { sleep(ttl / 3).await; } => {
            sleep(ttl / 3).await;
            if true {
                return Ok(());
            }
        };
    // A new lease each time, which is not used.
    wrong_leak: { sleep(ttl / 3).await; } => {
            sleep(ttl / 3).await;
            let _ = within(REQUEST_TIMEOUT, client.lease_grant(lease.ttl(), None)).await;
        };
    // A new lease and a put each time, as seldom as the lease allows.
    wrong_seldom: { sleep(ttl / 3).await; } => {
            sleep(ttl - Duration::from_millis(50)).await;
            if true {
                return Ok(());
            }
        },
        { registered(false); sleep(Duration::from_millis(200)).await; } => {};
    // Renews when the TTL has almost run down.
    wrong_last: { sleep(ttl / 3).await; } => { sleep(ttl - Duration::from_millis(200)).await; };
    // A lease that lives for longer than it should, or no lease.
    wrong_longer: { client.lease_grant(ttl, None) } => { client.lease_grant(ttl + 1, None) };
    wrong_forever: { Some(on_lease) } => { Some(on_lease).filter(|_| false) };
    // Stops the whole thread.
    wrong_thread: { sleep(ttl / 3).await; } => { std::thread::sleep(ttl / 3); };
    // Waits for a response without a limit, or renews without a deadline.
    wrong_patient: { end - sent } => { common::NO_LIMIT };
    wrong_late: { || Instant::now() >= end } => {};
    // Says when it is registered, and never when it is not.
    wrong_proud: { registered(false); } => {};
    // Says so when it has the lease.
    wrong_early: { let on_lease = } => { registered(true); let on_lease = };
    // Says so when the put has failed.
    wrong_swallow: { .context("put failed")? } => { .ok() };
    // Ends when a renewal fails, as the chapter's program does.
    wrong_leave: { if is_refusal(&error) || Instant::now() >= end => return Err(error), }
        => { => anyhow::bail!("a renewal failed"), },
        { eprintln!("not registered: {error:#}"); } => { return Err(error); };
    // Ends when it cannot get a new lease.
    wrong_grant: { eprintln!("not registered: {error:#}"); } => {
            if error.to_string() == "grant failed" {
                return Err(error);
            }
        };
    // Waits for etcd, and ends if that takes too long.
    wrong_reconnect: { eprintln!("not registered: {error:#}"); } => {
            registered(false);
            anyhow::ensure!(common::reconnect(client).await.is_ok(), "etcd was away for too long");
        };
    // A long pause between two attempts.
    wrong_slow: { sleep(Duration::from_millis(200)).await; } => { sleep(Duration::from_secs(5)).await; };
    // Does not register again.
    wrong_stop: { sleep(Duration::from_millis(200)).await; } => { std::future::pending::<()>().await; };
}

edits::edits! {
    "right_stream.rs";

    // Renews when the TTL has almost run down.
    wrong_latest: { sleep(ttl / 3).await; } => { sleep(ttl - Duration::from_millis(200)).await; };
    // Waits for a response that has been read already, or for two of them after one renewal.
    wrong_second: { registered(true); } => {
            let (_keeper, mut responses) =
                within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await?;
            within(REQUEST_TIMEOUT, responses.message()).await?;
            registered(true);
        };
    wrong_two: { responses.message().await }
        => { responses.message().await?; responses.message().await };
    // The same, where the first renewal comes later.
    wrong_lazy: { registered(true); } => {
            registered(true);
            sleep(Duration::from_secs(ttl.unsigned_abs()) / 3).await;
        },
        { ensure!(response.ttl() > 0, "the lease is lost"); } => {};
    // Takes any response for a renewal.
    wrong_deaf: { ensure!(response.ttl() > 0, "the lease is lost"); } => {};
}
