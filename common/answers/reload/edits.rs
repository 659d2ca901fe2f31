//! Answers that are a small edit away from another one. All but the first are wrong.

edits::edits! {
    "solution.rs";

    // Right: it never goes on from where it stopped, but gets the value each time.
    right_list: { *next == 0 } => { true };

    // The revision of the key: history may begin after it.
    wrong_key: { found.header().context("no header")?.revision() + 1 }
        => { found.kvs().first().context("no value")?.mod_revision() + 1 };
    // The last revision that it has seen, and not the next one.
    wrong_header: { .revision() + 1 } => { .revision() };
    wrong_again: { kv.mod_revision() + 1 } => { kv.mod_revision() };
    // A revision too late.
    wrong_late: { .revision() + 1 } => { .revision() + 2 };
    // Gives up a watch on which nothing comes.
    wrong_limit: { within(NO_LIMIT, stream.message()).await? }
        => { within(REQUEST_TIMEOUT, stream.message()).await? };
    // The same, later. Or a get in between, or a question on the stream.
    wrong_seldom: { within(NO_LIMIT, stream.message()).await? }
        => { within(Duration::from_secs(4), stream.message()).await? };
    wrong_idle: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                match within(Duration::from_secs(5), stream.message()).await {
                    Err(error) if error.to_string().starts_with("no response") => {
                        let _ = within(REQUEST_TIMEOUT, client.get(key, None)).await;
                    }
                    message => break message?,
                }
            }
        };
    wrong_progress: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                match within(Duration::from_millis(500), stream.message()).await {
                    Err(error) if error.to_string().starts_with("no response") => {
                        let _ = stream.request_progress().await;
                    }
                    message => break message?,
                }
            }
        };
    // The revision of the first watch, each time.
    wrong_revision: { *next = kv.mod_revision() + 1; } => {};
    // From now on, when the stream has ended.
    wrong_now: { eprintln!("{error:#}; watching again"); } => { next = -1; },
        { with_start_revision(*next) } => { with_start_revision((*next).max(0)) };
    // The revision of the store when etcd confirms the watch. The events of the past come later.
    wrong_confirmed: { for event in response.events() } => {
            *next = response.header().context("no header")?.revision() + 1;
            for event in response.events()
        },
        { *next = kv.mod_revision() + 1; } => {};
    // The newest value after each end, and then all that it has missed.
    wrong_older: { if *next == 0 } => {},
        { *next = found.header().context("no header")?.revision() + 1; } => {
            if *next == 0 {
                *next = found.header().context("no header")?.revision() + 1;
            }
        };
    // After a compaction: from where history begins, without the value that is older.
    wrong_history: { *next = 0; } => { *next = response.compact_revision(); };
    // After a compaction: the value, and then from now on.
    wrong_list: { *next = 0; } => { *next = -1; },
        { if *next == 0 } => { if *next <= 0 },
        { *next = found.header().context("no header")?.revision() + 1; } => {
            if *next == 0 {
                *next = found.header().context("no header")?.revision() + 1;
            }
        },
        { with_start_revision(*next) } => { with_start_revision((*next).max(0)) };
    // Does not look whether etcd has cancelled the watch.
    wrong_silence: {
            if response.compact_revision() > 0 { *next = 0; }
            ensure!(!response.canceled(), "the watch was cancelled");
        } => {};
    // Takes the first responses for confirmations of the watch.
    wrong_drop: { while let Some(response) = } => {
            for _ in 0..2 {
                within(NO_LIMIT, stream.message()).await?;
            }
            while let Some(response) =
        };
    // Only the first event of a response.
    wrong_event: { response.events() } => { response.events().iter().take(1) };
    // All keys that begin with this one.
    wrong_prefix: { .with_fragment() } => { .with_fragment().with_prefix() };
    // Never tries again.
    wrong_end: { is_refusal(&error) } => { true };
    // Goes on when the stream has ended, but not when a request gets no response.
    wrong_request: { is_refusal(&error) } => { error.to_string().ends_with(" failed") },
        { sleep(Duration::from_millis(100)).await; } => { common::reconnect(client).await?; };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.watch(key, Some(from))) }
        => { client.watch(key, Some(from)) };
    // Compares values as text.
    wrong_text: { let mut next = 0; } => { let (mut next, mut last) = (0, String::new()); },
        { follow_from(&mut next, client, key, &mut apply) } => {
            follow_from(&mut next, client, key, &mut |value: &str| {
                if value > &*last {
                    apply(value);
                    last = value.to_owned();
                }
            })
        };
    // No pause between two attempts.
    wrong_busy: { sleep(Duration::from_millis(100)).await; } => { tokio::task::yield_now().await; };
    // Asks a stream again that has ended, and never waits.
    wrong_spin: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                if let Ok(Some(message)) = within(NO_LIMIT, stream.message()).await {
                    break Some(message);
                }
            }
        };
    // No watch at all.
    wrong_poll: { let from } => {
            *next = 0;
            if true {
                sleep(Duration::from_millis(100)).await;
                return Ok(());
            }
            let from
        };
}

edits::edits! {
    "right_watch.rs";

    // Applies the events from before its get.
    wrong_early: { if kv.mod_revision() > seen } => {};
}
