//! Answers that are one edit away from the solution.

edits::edits! {
    "solution.rs";

    // Compares the number's revision, which grows when anybody writes it.
    right_number: { [guard.is_owner()] }
        => { [Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Drops the guard, which unlocks in the background.
    right_drop: { guard.unlock().await?; } => { drop(guard); };
    // Writes only if nobody has written since we joined the queue, which is what our token says.
    // Returns false if we had to wait for a holder that wrote.
    right_less: { [guard.is_owner()] }
        => { [Compare::mod_revision(key, CompareOp::Less, guard.token())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Checks both: the lock is still ours, and nobody has written the number since our get.
    right_both: { [guard.is_owner()] }
        => { [guard.is_owner(), Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Keeps the fencing token of the last writer beside the number, and compares it as a number.
    right_token: { let put = Txn::new().when([guard.is_owner()]).and_then([TxnOp::put(key, more, None)]); }
        => {
            use etcd_client::{Compare, CompareOp};
            let (fence, token) = (format!("{key}.token"), guard.token());
            let found = within(REQUEST_TIMEOUT, client.get(&*fence, None)).await?;
            let (mut newest, mut revision) = (0, 0);
            if let Some(kv) = found.kvs().first() {
                (newest, revision) = (kv.value_str()?.parse()?, kv.mod_revision());
            }
            if newest > token {
                return Ok(false);
            }
            let put = Txn::new()
                .when([Compare::mod_revision(&*fence, CompareOp::Equal, revision)])
                .and_then([TxnOp::put(&*fence, token.to_string(), None), TxnOp::put(key, more, None)]);
        };
    // Without a response, sends the same transaction again. If etcd refuses it, the first one may
    // be the reason, so the answer can't know whether it has added.
    right_again: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let response = match within(REQUEST_TIMEOUT, client.txn(put.clone())).await {
            Ok(response) => response,
            Err(error) => {
                let again = within(REQUEST_TIMEOUT, client.txn(put)).await?;
                if !again.succeeded() {
                    return Err(error);
                }
                again
            }
        }; };

    // Asks the session just before the write. The pause comes after that question.
    wrong_checks_alive: { let put = Txn::new().when([guard.is_owner()]) }
        => { if !session.is_alive() { return Ok(false) } let put = Txn::new() };
    // If `lock` returns an error, goes on without the lock and without the condition.
    wrong_without_lock: { .lock().await? } => { .lock().await },
        { [guard.is_owner()] } => { guard.iter().map(|guard| guard.is_owner()).collect::<Vec<_>>() },
        { guard.unlock().await?; } => { if let Ok(guard) = guard { guard.unlock().await?; } };
    // Writes without the condition after etcd has refused.
    wrong_writes_anyway: { guard.unlock().await?; } => {
        if !response.succeeded() {
            within(REQUEST_TIMEOUT, client.put(key, (number + 1).to_string(), None)).await?;
        }
        guard.unlock().await?;
    }, { Ok(response.succeeded()) } => { Ok(true) };
    // Returns true even if etcd has refused.
    wrong_returns_true: { Ok(response.succeeded()) } => { Ok(true) };
    // Returns false even if it has added.
    wrong_returns_false: { Ok(response.succeeded()) } => { Ok(false) };
    // Without a response, returns false. But etcd may have carried out the transaction.
    wrong_error_is_false: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { return Ok(false) }; };
    // Without a response, returns true. But the transaction may never have arrived.
    wrong_error_is_true: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { return Ok(true) }; };
    // Without a response, reads the number again and adds to that. The first transaction may have
    // added already.
    wrong_adds_again: {
            let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?;
        } => {
            let response = match within(REQUEST_TIMEOUT, client.txn(put)).await {
                Ok(response) => response,
                Err(_) => {
                    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                    let kv = found.kvs().first().context("there is no number")?;
                    let more = (kv.value_str()?.parse::<i64>()? + 1).to_string();
                    let put = TxnOp::put(key, more, None);
                    let put = Txn::new().when([guard.is_owner()]).and_then([put]);
                    within(REQUEST_TIMEOUT, client.txn(put)).await?
                }
            };
        };
    // Without a response, adds again if the number is unchanged. The first transaction may still be
    // on its way.
    wrong_looks_again: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let response = match within(REQUEST_TIMEOUT, client.txn(put)).await {
            Ok(response) => response,
            Err(error) => {
                let now = within(REQUEST_TIMEOUT, client.get(key, None)).await?;
                let now = now.kvs().first().context("there is no number")?;
                if now.mod_revision() != kv.mod_revision() {
                    return Err(error);
                }
                guard.unlock().await?;
                return Box::pin(add(client, session, lock, key)).await;
            }
        }; };
    // Without a response, sends the same transaction again and returns what comes of that. If etcd
    // refuses it, the first one may have added.
    wrong_repeats: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let response = match within(REQUEST_TIMEOUT, client.txn(put.clone())).await {
            Ok(response) => response,
            Err(_) => within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?,
        }; };
    // Keeps the lock until the session ends.
    wrong_no_unlock: { guard.unlock().await?; } => { std::mem::forget(guard); };
    // Puts the number on the lease of the session, so it disappears when the session ends.
    wrong_on_lease: { TxnOp::put(key, more, None) } => {
        TxnOp::put(key, more, Some(etcd_client::PutOptions::new().with_lease(session.lease())))
    };
    // Waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.txn(put)).await } => { client.txn(put).await };
    // Has etcd write in the same transaction even if the comparison is false.
    wrong_or_else: { let put = } => { let anyway = TxnOp::put(key, more.clone(), None); let put = },
        { .and_then([TxnOp::put(key, more, None)]) }
        => { .and_then([TxnOp::put(key, more, None)]).or_else([anyway]) };
    // Returns what `unlock` returns, but the lock may be lost after the write.
    wrong_trusts_unlock: { guard.unlock().await?; } => { let ours = guard.unlock().await?; },
        { Ok(response.succeeded()) } => { let _ = response; Ok(ours) };
    // Keeps the fencing token beside the number, but has etcd compare it as text, where "10" comes
    // before "9".
    wrong_text: { let put = Txn::new().when([guard.is_owner()]).and_then([TxnOp::put(key, more, None)]); }
        => {
            use etcd_client::{Compare, CompareOp};
            let (fence, token) = (format!("{key}.token"), guard.token().to_string());
            let first = Txn::new()
                .when([Compare::version(&*fence, CompareOp::Equal, 0)])
                .and_then([TxnOp::put(&*fence, "0", None)]);
            within(REQUEST_TIMEOUT, client.txn(first)).await?;
            let put = Txn::new()
                .when([Compare::value(&*fence, CompareOp::Less, &*token)])
                .and_then([TxnOp::put(&*fence, &*token, None), TxnOp::put(key, more, None)]);
        };
    // Treats a value that isn't a number as 0.
    wrong_zero: { parse()? } => { parse().unwrap_or(0) };
    // Writes only if the value is less than the new one. As text, "9" isn't less than "10".
    wrong_value_less: { [guard.is_owner()] } => { [Compare::value(key, CompareOp::Less, &*more)] },
        { TxnOp::put(key, more, None) } => { TxnOp::put(key, &*more, None) },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Compares something that is always true.
    wrong_always_true: { [guard.is_owner()] }
        => { [etcd_client::Compare::version(key, etcd_client::CompareOp::Greater, 0)] };
}
