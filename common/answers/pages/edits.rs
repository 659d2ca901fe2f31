//! Answers that are one edit away from another one.

edits::edits! {
    "solution.rs";

    // Right: asks for the revision first.
    right_first: { let mut revision = 0; } => {
        let count = GetOptions::new().with_count_only();
        let now = within(REQUEST_TIMEOUT, client.get(shelves, Some(count))).await?;
        let mut revision = now.header().context("no header")?.revision();
    };
    // Right: a full page may have another one behind it. Here the last response is empty.
    right_full: { found.more() } => { found.kvs().len() as i64 == limit };
    // Right: a get may be tried again, unless etcd has refused it.
    right_retry: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if !common::is_refusal(&error) => continue,
            found => found?,
        }; };
    // Right: starts over when etcd has forgotten the revision.
    right_over: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => {
                (revision, next) = (0, shelves.as_bytes().to_vec());
                parcels.clear();
                continue;
            }
            found => found?,
        }; };

    // The revisions of keys, in place of the store's.
    wrong_first: { found.header().context("no header")?.revision() }
        => { found.kvs().first().context("no parcels")?.mod_revision() };
    wrong_largest: { found.header().context("no header")?.revision() }
        => { found.kvs().iter().map(|kv| kv.mod_revision()).max().unwrap_or_default() };
    // How often the key was put.
    wrong_version: { let mut revision = 0; } => {
        let first = GetOptions::new().with_prefix().with_limit(1);
        let now = within(REQUEST_TIMEOUT, client.get(shelves, Some(first))).await?;
        let mut revision = now.kvs().first().context("no parcels")?.version();
    };
    // Off by one.
    wrong_before: { context("no header")?.revision() } => { context("no header")?.revision() - 1 };
    wrong_after: { context("no header")?.revision() } => { context("no header")?.revision() + 1 };
    // Every response has the newest revision, not only the first one.
    wrong_newest: { if revision == 0 } => { if true };
    // The newest values, without those that are newer than the first page.
    wrong_max: { with_revision } => { with_max_mod_revision };
    // Starts over when something has changed: others are never quiet for so long.
    wrong_over: { .with_revision(revision) } => {}, { if revision == 0 } => {
        let now = found.header().context("no header")?.revision();
        if revision > 0 && revision < now {
            (revision, next) = (0, shelves.as_bytes().to_vec());
            parcels.clear();
            continue;
        }
        if revision == 0
    };

    // Where a page begins, and where it ends.
    wrong_last: { [last.key(), b"\0"].concat() } => { last.key().to_vec() };
    wrong_increment: { [last.key(), b"\0"].concat() }
        => { { let mut key = last.key().to_vec(); *key.last_mut().context("no key")? += 1; key } };
    wrong_prefix: { with_range(&*end) } => { with_prefix() };
    wrong_slash: { shelves.as_bytes().to_vec() } => { shelves.trim_end_matches('/').into() };
    wrong_end: { format!("{}0", shelves.trim_end_matches('/')) }
        => { format!("{}~", shelves.trim_end_matches('/')) };
    // There are more.
    wrong_stop: { found.more() } => { false };
    // One more than it may, or all at once.
    wrong_more: { with_limit(limit) } => { with_limit(limit + 1) };
    wrong_whole: { .with_limit(limit) } => {};

    // A page that was lost is read again, as it is now.
    wrong_again: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Ok(found) => found,
            Err(_) => {
                let page = GetOptions::new().with_range(&*end).with_limit(limit);
                within(REQUEST_TIMEOUT, client.get(&*next, Some(page))).await?
            }
        }; };
    // And all pages after it, too.
    wrong_rest: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let Ok(found) = found else {
            revision = 0;
            continue;
        }; };
    // Each page twice, to be sure.
    wrong_each: { .await.context("get failed")?; } => { .await.context("get failed")?;
            let again = GetOptions::new().with_range(&*end).with_limit(limit).with_revision(revision);
            if let Some(first) = found.kvs().first() {
                let again = within(REQUEST_TIMEOUT, client.get(first.key(), Some(again))).await?;
                anyhow::ensure!(again.kvs().len() == found.kvs().len());
            }
        };
    // When etcd has forgotten the revision, it goes on at the newest one, or asks again for ever.
    wrong_forgotten: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => {
                revision = 0;
                continue;
            }
            found => found?,
        }; };
    wrong_forever: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let Ok(found) = found else { continue }; };
    // An error is taken for the end.
    wrong_partial: { .await.context("get failed")?; }
        => { .await; let Ok(found) = found else { return Ok(parcels) }; };
    wrong_refused: { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => return Ok(parcels),
            found => found?,
        }; };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.get(next, Some(page))) }
        => { client.get(next, Some(page)) };
}

edits::edits! {
    "mistake.rs";

    // Each parcel once, but some are missing all the same.
    wrong_single: { _ => return Ok(parcels) } => { _ => {
        let mut seen = std::collections::HashSet::new();
        parcels.retain(|parcel| seen.insert(parcel.clone()));
        return Ok(parcels);
    } };
}
