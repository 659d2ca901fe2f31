//! Answers that are one small edit away from the solution or from `right_resume.rs`.

edits::edits! {
    "solution.rs";

    // Watches from the revision of the list. Its last change comes once more, and changes nothing.
    right_same_revision: { .revision() + 1 } => { .revision() };
    // Draws the list only after etcd has confirmed the watch.
    right_draws_later: { draw(&board); let next } => { let next };

    // Names no revision, so the watch begins when it arrives. A student may come before that.
    wrong_now: { .with_start_revision(next) } => {};
    // Watches from the revision after the newest key of the list. The revision of the list may be
    // larger, and the history in between compacted. Then etcd cancels each watch.
    wrong_newest_key: { found.header().context("no header")?.revision() + 1 }
        => { found.kvs().iter().map(|kv| kv.mod_revision()).max().unwrap_or(0) + 1 };
    // Watches from the beginning of history, which is gone after a compaction.
    wrong_all_history: { found.header().context("no header")?.revision() + 1 } => { 1 };
    // Draws an empty board while the list is on its way.
    wrong_empty_first: { let below } => { draw(&Board::new()); let below };
    // Draws an empty board if the list fails.
    wrong_error_is_empty: { let found =
        within(REQUEST_TIMEOUT, client.get(class, Some(below))).await.context("get failed")?; }
        => {
            let found = within(REQUEST_TIMEOUT, client.get(class, Some(below))).await;
            if found.is_err() { draw(&Board::new()); }
            let found = found?;
        };
    // Treats a delete as a put of an empty value.
    wrong_delete_as_put: { EventType::Delete => board.remove(kv.key_str()?) }
        => { EventType::Delete => board.insert(kv.key_str()?.into(), String::new()) };
    // Ignores deletes, so everybody stays on the board.
    wrong_ignores_deletes: { EventType::Delete => board.remove(kv.key_str()?) } => { _ => None };
    // Keeps the larger of two numbers, but compares them as text, where "9" is larger than "12".
    wrong_text: { EventType::Put => board.insert(kv.key_str()?.into(), kv.value_str()?.into()) } => {
            EventType::Put => {
                let old = board.get(kv.key_str()?).cloned().unwrap_or_default();
                board.insert(kv.key_str()?.into(), old.max(kv.value_str()?.into()))
            }
        };
    // Reads only the first event of each response.
    wrong_first_event: { response.events() } => { response.events().iter().take(1) };
    // Watches only the key `class/` itself.
    wrong_single_key: { with_prefix().with_start_revision(next) } => { with_start_revision(next) };
    // Drops the slash, so its keys are all those which begin with the same letters.
    wrong_no_slash: { let below } => { let class = class.trim_end_matches('/'); let below };
    // Doesn't look whether etcd has canceled the watch, and waits for events that never come.
    wrong_ignores_canceled: { ensure!(!response.canceled(), "the watch was cancelled"); } => {};
    // Goes on after the end of a stream, but not after a request that got no response.
    wrong_request_ends: { is_refusal(&error) } => { error.to_string().ends_with(" failed") },
        { sleep(Duration::from_millis(100)).await; } => { common::reconnect(client).await?; };
    // Waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.get(class, Some(below))) }
        => { client.get(class, Some(below)) };
    // Lists again if no event has come for four seconds.
    wrong_relists: { within(NO_LIMIT, stream.message()).await? }
        => { within(Duration::from_secs(4), stream.message()).await? };
    // Doesn't pause between two attempts.
    wrong_no_pause: { sleep(Duration::from_millis(100)).await; } => { tokio::task::yield_now().await; };
    // Ends at the first error.
    wrong_no_retry: { is_refusal(&error) } => { true };
    // Doesn't watch, but lists again and again.
    wrong_poll: { let next } => { if true { return Ok(()); } let next };
    // Watches first and lists then, so events from before the list come after it.
    wrong_watch_first: {
            let below = GetOptions::new().with_prefix();
            let found =
                within(REQUEST_TIMEOUT, client.get(class, Some(below))).await.context("get failed")?;
        } => {
            let mut stream = within(
                REQUEST_TIMEOUT,
                client.watch(class, Some(WatchOptions::new().with_prefix())),
            ).await?;
            let below = GetOptions::new().with_prefix();
            let found =
                within(REQUEST_TIMEOUT, client.get(class, Some(below))).await.context("get failed")?;
        },
        {
            let next = found.header().context("no header")?.revision() + 1;
            let from = WatchOptions::new().with_prefix().with_start_revision(next).with_fragment();
            let mut stream =
                within(REQUEST_TIMEOUT, client.watch(class, Some(from))).await.context("watch failed")?;
        } => {};
}

edits::edits! {
    "right_resume.rs";

    // Adds the new list to the old board, so students who left in between stay on it.
    wrong_merge: { board.clear(); } => {};
    // Continues after the last event that it has seen. After a list it has seen none, and its watch
    // begins too late.
    wrong_resume: { *next = found.header().context("no header")?.revision() + 1; } => {};
    // After a compaction, watches from where history begins, without a new list.
    wrong_history_start: { *next = 0; } => { *next = response.compact_revision(); };
}
