//! Answers that are a small edit away from the solution. The first three are right.

use super::experiment;

edits::edits! {
    "solution.rs";

    // The put keeps the lease of the key, whichever it is.
    right_ignore: { let on_lease = PutOptions::new().with_lease(entry.lease); }
        => { let on_lease = PutOptions::new().with_ignore_lease(); };
    // The lease is in the response to a get.
    right_get: { let on_lease = PutOptions::new().with_lease(entry.lease); } => {
            let found = within(REQUEST_TIMEOUT, client.get(&*entry.key, None)).await?;
            let lease = found.kvs().first().context("no entry")?.lease();
            let on_lease = PutOptions::new().with_lease(lease);
        };
    // Only if the entry is on that lease.
    right_txn: { let on_lease = PutOptions::new().with_lease(entry.lease); } => {
            use etcd_client::{Compare, CompareOp, Txn, TxnOp};
            let on_lease = PutOptions::new().with_lease(entry.lease);
            let put = Txn::new()
                .when([Compare::lease(&*entry.key, CompareOp::Equal, entry.lease)])
                .and_then([TxnOp::put(&*entry.key, address, Some(on_lease.clone()))]);
            let done = within(REQUEST_TIMEOUT, client.txn(put)).await?;
            anyhow::ensure!(done.succeeded(), "the entry is gone");
            return Ok(());
        };

    // A lease of another TTL, and a number that is not the lease's.
    wrong_ttl: { lease_grant(ttl, None) } => { lease_grant(10, None) };
    wrong_id: { lease: lease.id() } => { lease: lease.ttl() };
    // A lease with the same number each time, which a service that starts again cannot get.
    wrong_number: { client.lease_grant(ttl, None) } => {
        client.lease_grant(ttl, Some(etcd_client::LeaseGrantOptions::new().with_id(
            key.bytes().fold(7, |id: i64, byte| (id * 31 + i64::from(byte)) % 1_000_000_007),
        )))
    };
    // The lease of the entry that is there, from the run before.
    wrong_found: { client.lease_grant(ttl, None) } => { client.get(&*key, None) },
        { let on_lease = PutOptions::new().with_lease(lease.id()); } => {
            let id = match lease.kvs().first() {
                Some(kv) => kv.lease(),
                None => within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await?.id(),
            };
            let on_lease = PutOptions::new().with_lease(id);
        },
        { lease: lease.id() } => { lease: id };
    // One lease for all services.
    wrong_one: { let lease = } => {
            static FIRST: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
            let lease =
        },
        { with_lease(lease.id()) } => { with_lease(*FIRST.get_or_init(|| lease.id())) },
        { lease: lease.id() } => { lease: *FIRST.get_or_init(|| lease.id()) };
    // Renews by itself, also when the service has ended.
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
    // The entry, and then the lease.
    wrong_twice: { let lease = } => {
            within(REQUEST_TIMEOUT, client.put(&*key, address, None)).await?;
            let lease =
        };
    // In two steps, and between them the entry is not there.
    wrong_delete: { let on_lease = PutOptions::new().with_lease(entry.lease); } => {
            within(REQUEST_TIMEOUT, client.delete(&*entry.key, None)).await?;
            let on_lease = PutOptions::new().with_lease(entry.lease);
        };
    // A new lease, which nobody renews.
    wrong_lease: { let on_lease = PutOptions::new().with_lease(entry.lease); } => {
            let lease = within(REQUEST_TIMEOUT, client.lease_grant(2, None)).await?;
            let on_lease = PutOptions::new().with_lease(lease.id());
        };
    // The same lease again, but the entry goes with the old one.
    wrong_revoke: { let on_lease = PutOptions::new().with_lease(entry.lease); } => {
            within(REQUEST_TIMEOUT, client.lease_revoke(entry.lease)).await?;
            let same = etcd_client::LeaseGrantOptions::new().with_id(entry.lease);
            within(REQUEST_TIMEOUT, client.lease_grant(3, Some(same))).await?;
            let on_lease = PutOptions::new().with_lease(entry.lease);
        };
    // A transaction that does nothing, and nobody looks.
    wrong_unread: { client.put(&*entry.key, address, Some(on_lease)) } => {
            client.txn(
                etcd_client::Txn::new()
                    .when([etcd_client::Compare::version(
                        &*entry.key,
                        etcd_client::CompareOp::Equal,
                        0,
                    )])
                    .and_then([etcd_client::TxnOp::put(&*entry.key, address, Some(on_lease))]),
            )
        };
    // Only if there is no entry yet. Otherwise nothing is put, and nobody looks.
    wrong_create: { client.put(&*key, address, Some(on_lease)) } => {
            client.txn(
                etcd_client::Txn::new()
                    .when([etcd_client::Compare::version(
                        &*key,
                        etcd_client::CompareOp::Equal,
                        0,
                    )])
                    .and_then([etcd_client::TxnOp::put(&*key, address, Some(on_lease))]),
            )
        };
    // An error is not worth a word.
    wrong_silent: { within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await } => {
            let _ = within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await;
            anyhow::Ok(())
        };
    wrong_swallow: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            let _ = within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease))).await;
        };
    // An error is not worth a word, unless etcd has refused.
    wrong_hope: { within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await } => {
            let put = within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease)));
            match put.await {
                Err(error) if common::is_refusal(&error) => Err(error),
                _ => Ok(()),
            }
        };
    // Does not wait for the response.
    wrong_spawn: {
            within(REQUEST_TIMEOUT, client.put(&*key, address, Some(on_lease)))
                .await
                .context("put failed")?;
        } => {
            let (mut putting, name, address) = (client.clone(), key.clone(), address.to_owned());
            tokio::spawn(async move {
                within(REQUEST_TIMEOUT, putting.put(name, address, Some(on_lease))).await
            });
        };
    wrong_behind: { within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await } => {
            let (mut putting, name, address) = (client.clone(), entry.key.clone(), address.to_owned());
            tokio::spawn(async move {
                within(REQUEST_TIMEOUT, putting.put(name, address, Some(on_lease))).await
            });
            anyhow::Ok(())
        };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await }
        => { client.put(&*entry.key, address, Some(on_lease)).await };
    wrong_grant: { within(REQUEST_TIMEOUT, client.lease_grant(ttl, None)).await }
        => { client.lease_grant(ttl, None).await };
    // Rather without a lease than not at all.
    wrong_back: { within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease))).await } => {
            let put = within(REQUEST_TIMEOUT, client.put(&*entry.key, address, Some(on_lease)));
            if put.await.is_ok() {
                return Ok(());
            }
            within(REQUEST_TIMEOUT, client.put(&*entry.key, address, None)).await
        };
}
