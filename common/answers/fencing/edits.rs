//! Answers that are one edit away from another one.

edits::edits! {
    "solution.rs";

    // Right: the number itself says that nobody has written it since.
    right_number: { [guard.is_owner()] }
        => { [Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Right: a guard that is dropped unlocks.
    right_drop: { guard.unlock().await?; } => { drop(guard); };
    // Right: nobody has written it since we have the lock, as who gets the lock later has a larger token.
    right_less: { [guard.is_owner()] }
        => { [Compare::mod_revision(key, CompareOp::Less, guard.token())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Right: both.
    right_both: { [guard.is_owner()] }
        => { [guard.is_owner(), Compare::mod_revision(key, CompareOp::Equal, kv.mod_revision())] },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // Right: the fencing token of the last writer is kept beside the number, and compared as a number.
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
    // Right: no response, so it puts the same number once more. If that is refused, it cannot know.
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

    // Asks just before it writes. The pause comes just after that.
    wrong_alive: { let put = Txn::new().when([guard.is_owner()]) }
        => { if !session.is_alive() { return Ok(false) } let put = Txn::new() };
    // Without a lock it goes on without the condition.
    wrong_unlocked: { .lock().await? } => { .lock().await },
        { [guard.is_owner()] } => { guard.iter().map(|guard| guard.is_owner()).collect::<Vec<_>>() },
        { guard.unlock().await?; } => { if let Ok(guard) = guard { guard.unlock().await?; } };
    // It is refused, and writes all the same.
    wrong_anyway: { guard.unlock().await?; } => {
        if !response.succeeded() {
            within(REQUEST_TIMEOUT, client.put(key, (number + 1).to_string(), None)).await?;
        }
        guard.unlock().await?;
    }, { Ok(response.succeeded()) } => { Ok(true) };
    // It says what it does not know.
    wrong_sure: { Ok(response.succeeded()) } => { Ok(true) };
    wrong_unsure: { Ok(response.succeeded()) } => { Ok(false) };
    wrong_error: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { return Ok(false) }; };
    wrong_true: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { return Ok(true) }; };
    // No response: once more, from the number of now.
    wrong_more: {
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
    // No response: looks, and adds again if the number is what it was. The write may still come.
    wrong_look: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
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
    // No response: the same once more. If etcd refuses that, the first one may have been carried out.
    wrong_same: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => { let response = match within(REQUEST_TIMEOUT, client.txn(put.clone())).await {
            Ok(response) => response,
            Err(_) => within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?,
        }; };
    // The lock stays, until the session ends.
    wrong_forget: { guard.unlock().await?; } => { std::mem::forget(guard); };
    // The number goes, when the session ends.
    wrong_lease: { TxnOp::put(key, more, None) } => {
        TxnOp::put(key, more, Some(etcd_client::PutOptions::new().with_lease(session.lease())))
    };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.txn(put)).await } => { client.txn(put).await };
    // It writes also when etcd has refused.
    wrong_else: { let put = } => { let anyway = TxnOp::put(key, more.clone(), None); let put = },
        { .and_then([TxnOp::put(key, more, None)]) }
        => { .and_then([TxnOp::put(key, more, None)]).or_else([anyway]) };
    // It goes by the unlock: the lock may be lost after the write.
    wrong_unlock: { guard.unlock().await?; } => { let ours = guard.unlock().await?; },
        { Ok(response.succeeded()) } => { let _ = response; Ok(ours) };
    // The lock's fencing token, kept beside the number, and compared as text: 10 comes before 9.
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
    // What is no number is taken for 0.
    wrong_zero: { parse()? } => { parse().unwrap_or(0) };
    // Less than what it is to be, as text.
    wrong_less: { [guard.is_owner()] } => { [Compare::value(key, CompareOp::Less, &*more)] },
        { TxnOp::put(key, more, None) } => { TxnOp::put(key, &*more, None) },
        { use etcd_client::{Client, Txn, TxnOp}; }
        => { use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp}; };
    // The condition is always true.
    wrong_exists: { [guard.is_owner()] }
        => { [etcd_client::Compare::version(key, etcd_client::CompareOp::Greater, 0)] };
}
