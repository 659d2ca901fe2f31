//! Answers that are a small edit away from another one.

edits::edits! {
    "solution.rs";

    // Right: the last change that the list has seen comes once more, and changes nothing.
    right_same: { .revision() + 1 } => { .revision() };
    // Right: it draws the list when etcd has confirmed the watch.
    right_late: { draw(&board); let next } => { let next };

    // From now on, in place of the revision after the list.
    wrong_now: { .with_start_revision(next) } => {};
    // The newest key of the list does not tell the revision of the list.
    wrong_newest: { found.header().context("no header")?.revision() + 1 }
        => { found.kvs().iter().map(|kv| kv.mod_revision()).max().unwrap_or(0) + 1 };
    // All history.
    wrong_history: { found.header().context("no header")?.revision() + 1 } => { 1 };
    // An empty board while the list is on its way.
    wrong_empty: { let below } => { draw(&Board::new()); let below };
    // A list that has failed is taken for a list of nobody.
    wrong_failed: { let found =
        within(REQUEST_TIMEOUT, client.get(class, Some(below))).await.context("get failed")?; }
        => {
            let found = within(REQUEST_TIMEOUT, client.get(class, Some(below))).await;
            if found.is_err() { draw(&Board::new()); }
            let found = found?;
        };
    // A delete is taken for a put of nothing.
    wrong_delete: { EventType::Delete => board.remove(kv.key_str()?) }
        => { EventType::Delete => board.insert(kv.key_str()?.into(), String::new()) };
    wrong_stays: { EventType::Delete => board.remove(kv.key_str()?) } => { _ => None };
    // Takes what is smaller for older, and compares it as text.
    wrong_text: { EventType::Put => board.insert(kv.key_str()?.into(), kv.value_str()?.into()) } => {
            EventType::Put => {
                let old = board.get(kv.key_str()?).cloned().unwrap_or_default();
                board.insert(kv.key_str()?.into(), old.max(kv.value_str()?.into()))
            }
        };
    // Only the first event of a response.
    wrong_event: { response.events() } => { response.events().iter().take(1) };
    // Only the key with this name.
    wrong_key: { with_prefix().with_start_revision(next) } => { with_start_revision(next) };
    // What begins with the same letters.
    wrong_folder: { let below } => { let class = class.trim_end_matches('/'); let below };
    // Does not look whether etcd has cancelled the watch.
    wrong_silence: { ensure!(!response.canceled(), "the watch was cancelled"); } => {};
    // Goes on when the stream has ended, but not when a request gets no response.
    wrong_request: { is_refusal(&error) } => { error.to_string().ends_with(" failed") },
        { sleep(Duration::from_millis(100)).await; } => { common::reconnect(client).await?; };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.get(class, Some(below))) }
        => { client.get(class, Some(below)) };
    // A new list every few seconds.
    wrong_seldom: { within(NO_LIMIT, stream.message()).await? }
        => { within(Duration::from_secs(4), stream.message()).await? };
    // No pause between two attempts.
    wrong_busy: { sleep(Duration::from_millis(100)).await; } => { tokio::task::yield_now().await; };
    // Never tries again.
    wrong_end: { is_refusal(&error) } => { true };
    // No watch at all.
    wrong_poll: { let next } => { if true { return Ok(()); } let next };
    // Watches first, and lists then: older events come after the list.
    wrong_first: {
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

    // The new list comes on top of the old one: who has gone meanwhile stays.
    wrong_merge: { board.clear(); } => {};
    // Goes on from the last revision that it has seen. After a list, that is none.
    wrong_resume: { *next = found.header().context("no header")?.revision() + 1; } => {};
    // After a compaction: from where history begins, without a new list.
    wrong_begins: { *next = 0; } => { *next = response.compact_revision(); };
}
