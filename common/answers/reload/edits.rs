//! Answers that are a small edit away from another answer.

// The solution gets the value, and watches from the revision after that get. It then goes on from
// the revision after the last event. If etcd no longer has that revision, it gets the value again.
edits::edits! {
    "solution.rs";

    // Gets the value again after each loss, instead of going on from the last event.
    right_gets_again: { *next == 0 } => { true };

    // Watches from the revision after the key's own. History may begin later than that.
    wrong_key_revision: { found.header().context("no header")?.revision() + 1 }
        => { found.kvs().first().context("no value")?.mod_revision() + 1 };
    // Watches from the revision of its get, so the value comes again as an event.
    wrong_same_as_get: { .revision() + 1 } => { .revision() };
    // Goes on from the revision of the last event, so that event comes again.
    wrong_same_as_event: { kv.mod_revision() + 1 } => { kv.mod_revision() };
    // Skips the first revision after its get.
    wrong_plus_two: { .revision() + 1 } => { .revision() + 2 };
    // Gives up a watch on which nothing comes for a second, and begins a new one.
    wrong_short_limit: { within(NO_LIMIT, stream.message()).await? }
        => { within(REQUEST_TIMEOUT, stream.message()).await? };
    // Gives up a watch on which nothing comes for four seconds. It is rarer, but as needless.
    wrong_long_limit: { within(NO_LIMIT, stream.message()).await? }
        => { within(Duration::from_secs(4), stream.message()).await? };
    // Gets the value every five seconds, although the watch would tell of any change.
    wrong_gets_when_idle: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                match within(Duration::from_secs(5), stream.message()).await {
                    Err(error) if error.to_string().starts_with("no response") => {
                        let _ = within(REQUEST_TIMEOUT, client.get(key, None)).await;
                    }
                    message => break message?,
                }
            }
        };
    // Asks on the stream how far etcd is, twice a second.
    wrong_asks_progress: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                match within(Duration::from_millis(500), stream.message()).await {
                    Err(error) if error.to_string().starts_with("no response") => {
                        let _ = stream.request_progress().await;
                    }
                    message => break message?,
                }
            }
        };
    // Never moves on from the revision of the first watch, so old events come again.
    wrong_first_revision: { *next = kv.mod_revision() + 1; } => {};
    // Watches from now on when the stream has ended, and so misses what came in between.
    wrong_from_now: { eprintln!("{error:#}; watching again"); } => { next = -1; },
        { with_start_revision(*next) } => { with_start_revision((*next).max(0)) };
    // Goes on from the store's revision in the response that confirms the watch. The events of the
    // past come only after that response.
    wrong_from_created: { for event in response.events() } => {
            *next = response.header().context("no header")?.revision() + 1;
            for event in response.events()
        },
        { *next = kv.mod_revision() + 1; } => {};
    // After each loss, gets the newest value, and then applies the events before it as well.
    wrong_replays_past: { if *next == 0 } => {},
        { *next = found.header().context("no header")?.revision() + 1; } => {
            if *next == 0 {
                *next = found.header().context("no header")?.revision() + 1;
            }
        };
    // After a compaction, watches from where history begins. The newest value is older than that.
    wrong_skips_get: { *next = 0; } => { *next = response.compact_revision(); };
    // After a compaction, gets the value and then watches from now on. So it misses a change
    // between the two.
    wrong_list_then_now: { *next = 0; } => { *next = -1; },
        { if *next == 0 } => { if *next <= 0 },
        { *next = found.header().context("no header")?.revision() + 1; } => {
            if *next == 0 {
                *next = found.header().context("no header")?.revision() + 1;
            }
        },
        { with_start_revision(*next) } => { with_start_revision((*next).max(0)) };
    // Doesn't check whether etcd has canceled the watch, and waits forever on a silent stream.
    wrong_ignores_canceled: {
            if response.compact_revision() > 0 { *next = 0; }
            ensure!(!response.canceled(), "the watch was canceled");
        } => {};
    // Gets the value again after each loss, so it rarely meets a canceled watch. But if the history
    // is compacted between its get and its watch, it waits forever on a silent stream.
    wrong_ignores_second_cancel: { *next == 0 } => { true },
        {
            if response.compact_revision() > 0 { *next = 0; }
            ensure!(!response.canceled(), "the watch was canceled");
        } => {};
    // Drops the first two responses, because it believes that both only confirm the watch.
    wrong_drops_responses: { while let Some(response) = } => {
            for _ in 0..2 {
                within(NO_LIMIT, stream.message()).await?;
            }
            while let Some(response) =
        };
    // Applies only the first event of a response.
    wrong_first_event: { response.events() } => { response.events().iter().take(1) };
    // Watches all keys that begin with this one.
    wrong_prefix: { .with_fragment() } => { .with_fragment().with_prefix() };
    // Returns any error, instead of trying again.
    wrong_never_retries: { is_refusal(&error) } => { true };
    // Goes on when the stream has ended, but returns an error when a request gets no response.
    wrong_retries_stream: { is_refusal(&error) } => { error.to_string().ends_with(" failed") },
        { sleep(Duration::from_millis(100)).await; } => { common::reconnect(client).await?; };
    // Has no time limit for the watch request, so it waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.watch(key, Some(from))) }
        => { client.watch(key, Some(from)) };
    // Compares values as text to find the newest one. As text, v10 comes before v9.
    wrong_compares_text: { let mut next = 0; } => { let (mut next, mut last) = (0, String::new()); },
        { follow_from(&mut next, client, key, &mut apply) } => {
            follow_from(&mut next, client, key, &mut |value: &str| {
                if value > &*last {
                    apply(value);
                    last = value.to_owned();
                }
            })
        };
    // Pauses so long between two attempts that its value is out of date for seconds.
    wrong_long_pause: { from_millis(100) } => { from_secs(5) };
    // Doesn't pause between two attempts.
    wrong_no_pause: { sleep(Duration::from_millis(100)).await; } => { tokio::task::yield_now().await; };
    // Asks a stream that has ended again and again. It never waits then, so nothing else can run.
    wrong_dead_stream: { within(NO_LIMIT, stream.message()).await? } => {
            loop {
                if let Ok(Some(message)) = within(NO_LIMIT, stream.message()).await {
                    break Some(message);
                }
            }
        };
    // Doesn't watch, but gets the value every 100 ms.
    wrong_polls: { let from } => {
            *next = 0;
            if true {
                sleep(Duration::from_millis(100)).await;
                return Ok(());
            }
            let from
        };
}

// This answer begins its watch before its get.
edits::edits! {
    "right_watch_first.rs";

    // Applies events that are older than what its get has returned.
    wrong_applies_older: { if kv.mod_revision() > seen } => {};
}
