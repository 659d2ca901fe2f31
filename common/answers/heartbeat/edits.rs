//! Answers that are a small edit away from another answer. Only the first is right.

edits::edits! {
    "solution.rs";

    // Right: renews twice in a TTL, and again soon if a renewal fails.
    right_half: { sleep(ttl / 3).await; }
        => { sleep(if sent + ttl == end { ttl / 2 } else { ttl / 10 }).await; };

    // Registers again after any error, on a new lease. But the old lease still lives, and the new
    // put wakes everyone who watches the entry.
    wrong_any_error: { if is_refusal(&error) || Instant::now() >= end } => {};
    // Sends one renewal after another, almost without a pause.
    wrong_busy: { sleep(ttl / 3).await; }
        => { sleep(std::time::Duration::from_millis(5)).await; };
    // Doesn't pause between two attempts to register, which fail at once while the server refuses.
    wrong_no_pause: { sleep(Duration::from_millis(200)).await; } => {};
    // Believes that this call goes on renewing, like Go's `KeepAlive`. But it renews once.
    wrong_renews_once: { sleep(ttl / 3).await; } => {
            let _kept = within(REQUEST_TIMEOUT, client.lease_keep_alive(lease.id())).await;
            std::future::pending::<()>().await;
        };
    // Registers again and again instead of renewing, so it wakes everyone who watches the entry.
    wrong_puts_again: { sleep(ttl / 3).await; } => {
            sleep(ttl / 3).await;
            if true {
                return Ok(());
            }
        };
    // Registers again just before the lease runs out, which wakes them less often, but needlessly.
    wrong_puts_late: { sleep(ttl / 3).await; } => {
            sleep(ttl - Duration::from_millis(50)).await;
            if true {
                return Ok(());
            }
        },
        { registered(false); sleep(Duration::from_millis(200)).await; } => {};
    // Asks for a lease before each renewal. Nobody uses it, and etcd keeps it until it runs out.
    wrong_unused_leases: { sleep(ttl / 3).await; } => {
            sleep(ttl / 3).await;
            let _ = within(REQUEST_TIMEOUT, client.lease_grant(lease.ttl(), None)).await;
        };
    // Renews just before the TTL runs out, so that one late renewal loses the lease.
    wrong_last_moment: { sleep(ttl / 3).await; }
        => { sleep(ttl - Duration::from_millis(200)).await; };
    // Asks for a longer TTL than it should: a dead service would stay in etcd for longer.
    wrong_longer_ttl: { client.lease_grant(ttl, None) } => { client.lease_grant(ttl + 1, None) };
    // Puts the entry on no lease, so it stays forever.
    wrong_no_lease: { Some(on_lease) } => { Some(on_lease).filter(|_| false) };
    // Pauses the whole thread, so that nothing else runs in the meantime.
    wrong_blocks_thread: { sleep(ttl / 3).await; } => { std::thread::sleep(ttl / 3); };
    // Waits without a limit for a response, so it doesn't notice that the TTL runs out.
    wrong_no_limit: { end - sent } => { common::NO_LIMIT };
    // Goes on trying to renew after the TTL has run out, and says "registered" all the time.
    wrong_no_deadline: { || Instant::now() >= end } => {};
    // Never says that it is not registered.
    wrong_never_false: { registered(false); } => {};
    // Says that it is registered when it has the lease, before the put.
    wrong_before_put: { let on_lease = } => { registered(true); let on_lease = };
    // Says that it is registered even if the put failed.
    wrong_ignores_put: { .context("put failed")? } => { .ok() };
    // Ends when a renewal fails, like the chapter's program.
    wrong_ends_on_error: { if is_refusal(&error) || Instant::now() >= end => return Err(error), }
        => { => anyhow::bail!("a renewal failed"), },
        { eprintln!("not registered: {error:#}"); } => { return Err(error); };
    // Ends when it cannot get a new lease, although the network may come back.
    wrong_ends_without_lease: { eprintln!("not registered: {error:#}"); } => {
            if error.to_string() == "grant failed" {
                return Err(error);
            }
        };
    // Waits for etcd, but ends if that takes more than a few seconds.
    wrong_ends_after_wait: { eprintln!("not registered: {error:#}"); } => {
            registered(false);
            anyhow::ensure!(common::reconnect(client).await.is_ok(), "etcd was away for too long");
        };
    // Pauses so long between two attempts that it is not registered in time.
    wrong_long_pause: { sleep(Duration::from_millis(200)).await; }
        => { sleep(Duration::from_secs(5)).await; };
    // Notices that it is no longer registered, and does nothing about it.
    wrong_never_again: { sleep(Duration::from_millis(200)).await; }
        => { std::future::pending::<()>().await; };
}

edits::edits! {
    "right_stream.rs";

    // Renews just before the TTL runs out, so that one late renewal loses the lease.
    wrong_last_moment_stream: { sleep(ttl / 3).await; }
        => { sleep(ttl - Duration::from_millis(200)).await; };
    // Opens a stream and waits for a second response, but `lease_keep_alive` has read the only one.
    wrong_extra_response: { registered(true); } => {
            let (_keeper, mut responses) =
                within(REQUEST_TIMEOUT, client.lease_keep_alive(lease)).await?;
            within(REQUEST_TIMEOUT, responses.message()).await?;
            registered(true);
        };
    // Waits for two responses after each renewal, but only one comes.
    wrong_two_responses: { responses.message().await }
        => { responses.message().await?; responses.message().await };
    // Takes any response for a renewal. But when the lease is gone, the response has a TTL of 0.
    wrong_ignores_ttl: { ensure!(response.ttl() > 0, "the lease is lost"); } => {};
    // Takes any response for a renewal, too, but sends its renewals at other times.
    wrong_ignores_ttl_later: { registered(true); } => {
            registered(true);
            sleep(Duration::from_secs(ttl.unsigned_abs()) / 3).await;
        },
        { ensure!(response.ttl() > 0, "the lease is lost"); } => {};
}
