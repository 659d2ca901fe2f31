//! Answers that are a small edit away from another answer.

// The solution gets the counter, and puts the next number on condition that the `mod_revision` of
// the counter is still the same. If it isn't, the solution tries again.
edits::edits! {
    "solution.rs";

    // Compares with the revision of the store at the get. Any later put of the counter has a newer
    // one, no matter which key had changed last.
    right_since: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) } => {
        mod_revision(key, CompareOp::Less, found.header().context("no header")?.revision() + 1)
    };
    // Compares the number itself. That is right because this number only grows: it can't change
    // and then change back.
    right_value: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) }
        => { value(key, CompareOp::Equal, kv.value()) };

    // Compares with the revision of the store. As soon as another key has changed, that is never
    // the counter's.
    wrong_store_revision: { kv.mod_revision() }
        => { found.header().context("no header")?.revision() };
    // Compares the counter's revision with its version, which counts the puts of this key.
    wrong_version: { kv.mod_revision() } => { kv.version() };
    // Compares the revision of the counter's first put, which no later put changes.
    wrong_create_revision: { mod_revision(key, CompareOp::Equal, kv.mod_revision()) }
        => { create_revision(key, CompareOp::Equal, kv.create_revision()) };
    // Asks for the same revision or a newer one. That is still true after another client's put.
    wrong_greater: { CompareOp::Equal, kv.mod_revision() }
        => { CompareOp::Greater, kv.mod_revision() - 1 };
    // Gets twice, and takes the number from the first get, but the revision from the second one.
    wrong_two_gets: { let more = } => {
        let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
        let kv = found.kvs().first().context("there is no counter")?;
        let more =
    };
    // Returns an error when another client was faster, instead of trying again.
    wrong_late_is_error: { if response.succeeded() }
        => { anyhow::ensure!(response.succeeded(), "another client was faster"); if true };
    // Stops trying after three attempts, and returns `Ok` even if all of them have failed.
    wrong_three_tries: { loop } => { let mut tries = 0; loop },
        { if response.succeeded() } => { tries += 1; if response.succeeded() || tries == 3 };
    // Stops after ten attempts. Among eight clients that is enough, but other programs write, too.
    wrong_ten_tries: { loop } => { let mut tries = 0; loop },
        { if response.succeeded() } => { tries += 1; if response.succeeded() || tries == 10 };
    // Treats a value that isn't a number as 0, and overwrites it.
    wrong_text_is_zero: { parse()? } => { parse().unwrap_or(0) };
    // Assumes that nothing was put if no response came, and tries again.
    wrong_blind_retry: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else { continue }; };
    // Assumes that nothing was put if the connection was lost, and tries again.
    wrong_lost_connection: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let response = match within(REQUEST_TIMEOUT, client.txn(put)).await {
                Err(error) if error.to_string().starts_with("connection lost") => continue,
                response => response?,
            };
        };
    // Returns `Ok` when the get has failed, although nothing was put.
    wrong_ignores_get_error: { let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?; }
        => { let Ok(found) = within(REQUEST_TIMEOUT, client.get(key, None)).await else { return Ok(()) }; };
    // Returns `Ok` when the transaction has failed, although the request may never have arrived.
    wrong_ignores_txn_error: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else { return Ok(()) }; };
    // Without a response, gets the counter and returns `Ok` if it has the number that it wanted to
    // put. Another program may have put that number.
    wrong_number_is_mine: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else {
                let now = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                let now = now.kvs().first().context("there is no counter")?;
                anyhow::ensure!(now.value_str()? == more, "cannot know whether it was added");
                return Ok(());
            };
        },
        { TxnOp::put(key, more, None) } => { TxnOp::put(key, more.clone(), None) };
    // Without a response, gets the counter and tries again if it hasn't changed. The first put may
    // still be on its way.
    wrong_look_then_retry: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put)).await else {
                let now = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                let now = now.kvs().first().context("there is no counter")?;
                anyhow::ensure!(now.mod_revision() == kv.mod_revision(), "cannot know");
                continue;
            };
        };
    // Without a response, sends the same transaction once more and returns `Ok`, even if the
    // comparison is false then. It assumes that its own first put has changed the counter, but
    // that may have been another program's.
    wrong_resend: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let Ok(response) = within(REQUEST_TIMEOUT, client.txn(put.clone())).await else {
                within(REQUEST_TIMEOUT, client.txn(put)).await?;
                return Ok(());
            };
        };
    // Has no time limit, so it waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.txn(put)).await } => { client.txn(put).await };
}

// The mistake gets the counter, and puts the next number without a condition.
edits::edits! {
    "mistake.rs";

    // Takes one of etcd's locks first. A program that writes without taking the lock isn't stopped.
    wrong_lock: { let found = } => {
        let lock = client.lock(format!("{key}/lock"), None).await?;
        let found =
    },
        { Ok(()) } => { client.unlock(lock.key()).await?; Ok(()) };
}

// This answer reads the counter in the same transaction if the comparison is false.
edits::edits! {
    "right_else.rs";

    // After a false comparison, goes on with the revision of the store instead of the counter's.
    // (It starts with a get, which is fine.)
    wrong_else_revision: { let (mut number, mut revision) = (0i64, 0); } => {
            let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
            let kv = found.kvs().first().context("there is no counter")?;
            let (mut number, mut revision): (i64, i64) = (kv.value_str()?.parse()?, kv.mod_revision());
        },
        { (number, revision) = (kv.value_str()?.parse()?, kv.mod_revision()); } => {
            number = kv.value_str()?.parse()?;
            revision = found.header().context("no header")?.revision();
        };
}
