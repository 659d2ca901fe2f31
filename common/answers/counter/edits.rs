//! Answers that are one edit away from another one.

edits::edits! {
    "solution.rs";

    // Right: nobody has changed it since this response, of whatever key the newest revision is.
    right_since: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) } => {
        mod_revision(key, CompareOp::Less, found.header().context("no header")?.revision() + 1)
    };
    // Right, because the number only grows. One that also shrinks can be the old one again.
    right_value: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) }
        => { value(key, CompareOp::Equal, kv.value()) };

    // The store's revision, which changes with each key.
    wrong_store: { kv.mod_revision() } => { found.header().context("no header")?.revision() };
    // How often the key was put, in place of when.
    wrong_version: { kv.mod_revision() } => { kv.version() };
    // The revision of the key's first put, which no later put changes.
    wrong_first: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) }
        => { create_revision(key, CompareOp::Equal, kv.create_revision()) };
    // Also true after a later put.
    wrong_later: { CompareOp::Equal, kv.mod_revision() }
        => { CompareOp::Greater, kv.mod_revision() - 1 };
    // The number is from one moment, and its revision from another.
    wrong_twice: { let more = } => {
        let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
        let kv = found.kvs().first().context("there is no counter")?;
        let more =
    };
    // To be late is taken for an error.
    wrong_refused: { if response.succeeded() }
        => { anyhow::ensure!(response.succeeded(), "another client was faster"); if true };
    // It tries three times, and says nothing if that was not enough.
    wrong_three: { loop } => { let mut tries = 0; loop },
        { if response.succeeded() } => { tries += 1; if response.succeeded() || tries == 3 };
    // Ten times are enough for eight clients, but there are others.
    wrong_ten: { loop } => { let mut tries = 0; loop },
        { if response.succeeded() } => { tries += 1; if response.succeeded() || tries == 10 };
    // What is no number is taken for 0.
    wrong_zero: { parse()? } => { parse().unwrap_or(0) };
    // No response is taken for: nothing was put.
    wrong_again: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else { continue }; };
    // The end of the connection is.
    wrong_lost: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let response = match within(REQUEST_TIMEOUT, client.txn(put)).await {
                Err(error) if error.to_string().starts_with("connection lost") => continue,
                response => response?,
            };
        };
    // Nothing was read, so nothing is put, and nothing is said.
    wrong_unread: { let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?; }
        => { let Ok(found) = within(REQUEST_TIMEOUT, client.get(key, None)).await else { return Ok(()) }; };
    // An error is taken for: it was put.
    wrong_silent: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else { return Ok(()) }; };
    // No response: looks, and takes what another program has added for its own.
    wrong_mine: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else {
                let now = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                let now = now.kvs().first().context("there is no counter")?;
                anyhow::ensure!(now.value_str()? == more, "cannot know whether it was added");
                return Ok(());
            };
        },
        { TxnOp::put(key, more, None) } => { TxnOp::put(key, more.clone(), None) };
    // No response: looks, and tries again if the counter is what it was. The put may still come.
    wrong_look: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else {
                let now = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                let now = now.kvs().first().context("there is no counter")?;
                anyhow::ensure!(now.mod_revision() == kv.mod_revision(), "cannot know");
                continue;
            };
        };
    // No response: the same once more. If that is refused, it takes the first time for done.
    wrong_same: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put.clone())).await else {
                within(REQUEST_TIMEOUT, client.txn(put)).await?;
                return Ok(());
            };
        };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.txn(put)).await } => { client.txn(put).await };
}

edits::edits! {
    "mistake.rs";

    // The lock is etcd's own, but a program that writes without it is not stopped.
    wrong_lock: { let found = } => {
        let lock = client.lock(format!("{key}/lock"), None).await?;
        let found =
    },
        { Ok(()) } => { client.unlock(lock.key()).await?; Ok(()) };
}

edits::edits! {
    "right_else.rs";

    // Gets first. Of what it gets after a refusal it takes the revision of the store.
    wrong_else: { let (mut number, mut revision) = (0i64, 0); } => {
            let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
            let kv = found.kvs().first().context("there is no counter")?;
            let (mut number, mut revision): (i64, i64) = (kv.value_str()?.parse()?, kv.mod_revision());
        },
        { (number, revision) = (kv.value_str()?.parse()?, kv.mod_revision()); } => {
            number = kv.value_str()?.parse()?;
            revision = found.header().context("no header")?.revision();
        };
}
