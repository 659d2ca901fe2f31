//! Answers that are one small edit away from the solution.

use super::experiment;

edits::edits! {
    "solution.rs";

    // `with_ignore_lease` leaves the key on its lease, which is ours if the comparison is true.
    right_ignore_lease: { PutOptions::new().with_lease(entry.lease) }
        => { PutOptions::new().with_ignore_lease() };
    // Checks the lease in the response to a get, and compares the revision of the entry.
    right_revision: { let put = Txn::new() } => {
            let found = within(REQUEST_TIMEOUT, client.get(&*entry.key, None)).await?;
            let kv = found.kvs().first().context("no entry")?;
            ensure!(kv.lease() == entry.lease, "the entry is no longer ours");
            let put = Txn::new()
        },
        { Compare::lease(&*entry.key, CompareOp::Equal, entry.lease) }
        => { Compare::mod_revision(&*entry.key, CompareOp::Equal, kv.mod_revision()) };
    // Without a response, puts once more on the same lease. If the first put arrives later, it
    // changes nothing.
    right_again: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            let put = client.put(&*key, address, Some(on_lease.clone()));
            if within(REQUEST_TIMEOUT, put).await.is_err() {
                within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease))).await?;
            }
        };

    // Always asks for the same TTL.
    wrong_fixed_ttl: { lease_grant(ttl, None) } => { lease_grant(10, None) };
    // Takes the TTL in the response for the number of the lease.
    wrong_ttl_as_id: { lease: lease.id() } => { lease: lease.ttl() };
    // Computes the number of the lease from the key, so a service that starts again can't get it
    // until the lease of its earlier run has expired.
    wrong_fixed_id: { client.lease_grant(ttl, None) } => {
        client.lease_grant(ttl, Some(etcd_client::LeaseGrantOptions::new().with_id(
            key.bytes().fold(7, |id: i64, byte| (id * 31 + i64::from(byte)) % 1_000_000_007),
        )))
    };
    // If there is an entry, uses its lease, which belongs to the earlier run.
    wrong_found_lease: { client.lease_grant(ttl, None) } => { client.get(&*key, None) },
        { let on_lease = PutOptions::new().with_lease(lease.id()); } => {
            let id = match lease.kvs().first() {
                Some(kv) => kv.lease(),
                None => within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?.id(),
            };
            let on_lease = PutOptions::new().with_lease(id);
        },
        { lease: lease.id() } => { lease: id };
    // Uses one lease for all services, so one that runs keeps the entries of the others.
    wrong_shared_lease: { let lease = } => {
            static FIRST: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
            let lease =
        },
        { with_lease(lease.id()) } => { with_lease(*FIRST.get_or_init(|| lease.id())) },
        { lease: lease.id() } => { lease: *FIRST.get_or_init(|| lease.id()) };
    // Renews the lease itself, and doesn't stop when the service ends.
    wrong_renews: { Ok(Entry { key, lease: lease.id() }) } => {
            let (id, mut renewing) = (lease.id(), client.clone());
            tokio::task::spawn_local(async move {
                loop {
                    let _ = within(REQUEST_TIMEOUT, renewing.lease_keep_alive(id)).await;
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            });
            Ok(Entry { key, lease: lease.id() })
        };
    // Puts the entry without a lease first. If the service ends before the second put, that entry
    // stays.
    wrong_lease_later: { let lease = } => {
            within(REQUEST_TIMEOUT, client.put(&*key, address, None)).await?;
            let lease =
        };
    // Writes only if there is no entry yet, and doesn't look whether it has written. The entry of
    // the earlier run stays, and expires with its lease.
    wrong_only_if_new: { client.put(&*key, address, Some(on_lease)) } => {
            client.txn(
                Txn::new()
                    .when([Compare::version(&*key, CompareOp::Equal, 0)])
                    .and_then([TxnOp::put(&*key, address, Some(on_lease))]),
            )
        };
    // Returns Ok if the put has failed.
    wrong_register_error: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            let _ = within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease))).await;
        };
    // Returns before etcd has responded to the put.
    wrong_register_spawns: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            let (mut putting, name, address) = (client.clone(), key.clone(), address.to_owned());
            tokio::spawn(async move {
                within(REQUEST_TIMEOUT, putting.put(name, address, Some(on_lease))).await
            });
        };
    // After a lost put, grants another lease and puts again. If the first put arrives later, the
    // entry is on the first lease, which nobody renews.
    wrong_second_lease: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            if within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease))).await.is_err() {
                return Box::pin(register(client, key, address, ttl)).await;
            }
        };
    // Waits forever for a response that was lost.
    wrong_grant_limit: { within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await }
        => { client.lease_grant(ttl, None).await };

    // Compares nothing. A put on our own lease fails only if that lease has expired, so it takes
    // the entry of a later run to the lease of this one.
    wrong_no_condition: { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) }
        => {};
    // Leaves the entry on its lease, but doesn't check that this is our lease.
    wrong_any_lease: { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) }
        => { .when([Compare::version(&*entry.key, CompareOp::Greater, 0)]) },
        { PutOptions::new().with_lease(entry.lease) } => { PutOptions::new().with_ignore_lease() };
    // Does the same with the lease in the response to a get.
    wrong_get_lease: { PutOptions::new().with_lease(entry.lease) } => {
            PutOptions::new().with_lease({
                let found = within(REQUEST_TIMEOUT, client.get(&*entry.key, None)).await?;
                found.kvs().first().context("no entry")?.lease()
            })
        },
        { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) } => {};
    // Checks the lease before the put. A later run can register in between.
    wrong_checks_first: { let put = Txn::new() } => {
            let found = within(REQUEST_TIMEOUT, client.get(&*entry.key, None)).await?;
            let kv = found.kvs().first().context("no entry")?;
            ensure!(kv.lease() == entry.lease, "the entry is no longer ours");
            let put = Txn::new()
        },
        { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) } => {};
    // Deletes the entry before the put, so it is missing for a moment.
    wrong_delete: { let put = Txn::new() } => {
            within(REQUEST_TIMEOUT, client.delete(&*entry.key, None)).await?;
            let put = Txn::new()
        },
        { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) } => {};
    // Puts the entry on a new lease, which nobody renews.
    wrong_new_lease: { PutOptions::new().with_lease(entry.lease) } => {
            PutOptions::new().with_lease({
                within(REQUEST_TIMEOUT, client.lease_grant(2, None)).await?.id()
            })
        },
        { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) } => {};
    // Grants a lease with the same number again. Revoking the old one deletes the entry.
    wrong_revoke: { let put = Txn::new() } => {
            within(REQUEST_TIMEOUT, client.lease_revoke(entry.lease)).await?;
            let same = etcd_client::LeaseGrantOptions::new().with_id(entry.lease);
            within(REQUEST_TIMEOUT, client.lease_grant(3, Some(same))).await?;
            let put = Txn::new()
        },
        { .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)]) } => {};
    // Puts without the lease if the put on the lease fails, so the entry comes back and stays.
    wrong_without_lease: { ensure!(response.succeeded(), "the entry is no longer ours"); } => {
            if !response.succeeded() {
                within(REQUEST_TIMEOUT, client.put(&*entry.key, address, None)).await?;
            }
        };
    // Its comparison is false if there is an entry, and it doesn't look whether it has written.
    wrong_only_if_gone: { Compare::lease(&*entry.key, CompareOp::Equal, entry.lease) }
        => { Compare::version(&*entry.key, CompareOp::Equal, 0) },
        { ensure!(response.succeeded(), "the entry is no longer ours"); } => {};
    // Doesn't look whether the comparison was true.
    wrong_ignores_succeeded: { ensure!(response.succeeded(), "the entry is no longer ours"); } => {};
    // Returns Ok if the transaction has failed.
    wrong_update_error: { within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            within(REQUEST_TIMEOUT, client.txn(put)).await;
            let Ok(response) = response else { return Ok(()) };
        };
    // Returns Ok if no response has come.
    wrong_ignores_timeout: { within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            within(REQUEST_TIMEOUT, client.txn(put)).await;
            if response.as_ref().is_err_and(|error| !common::is_refusal(error)) {
                return Ok(());
            }
            let response = response?;
        };
    // Returns before etcd has responded to the transaction.
    wrong_update_spawns: { let response = within(REQUEST_TIMEOUT, client.txn(put)).await.context("txn failed")?; }
        => {
            let mut putting = client.clone();
            tokio::spawn(async move { within(REQUEST_TIMEOUT, putting.txn(put)).await });
        },
        { ensure!(response.succeeded(), "the entry is no longer ours"); } => {};
    // Waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.txn(put)).await } => { client.txn(put).await };
}
