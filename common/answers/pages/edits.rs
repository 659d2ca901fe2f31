//! Answers that are a small edit away from another answer.

// The solution reads the first page at the newest revision, and takes this revision from the header
// of the response. It reads all other pages at that revision.
edits::edits! {
    "solution.rs";

    // Asks for the revision first, and reads all pages at that one.
    right_first: { let mut revision = 0; } => {
        let count = GetOptions::new().with_count_only();
        let now = within(REQUEST_TIMEOUT, client.get(shelves, Some(count))).await?;
        let mut revision = now.header().context("no header")?.revision();
    };
    // Asks for another page whenever a page is full. Here the last page is empty.
    right_full: { found.more() } => { found.kvs().len() as i64 == limit };
    // Sends a get again unless etcd has refused it. A get changes nothing, so that is safe.
    right_retry: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if !common::is_refusal(&error) => continue,
            found => found?,
        }; };
    // Starts over when etcd has refused a page because its revision is forgotten.
    right_over: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => {
                (revision, next) = (0, shelves.as_bytes().to_vec());
                parcels.clear();
                continue;
            }
            found => found?,
        }; };

    // Reads at the revision of the first key. Other keys may have changed after that one.
    wrong_first_key: { found.header().context("no header")?.revision() }
        => { found.kvs().first().context("no parcels")?.mod_revision() };
    // Reads at the newest revision of the keys on the first page. If a parcel has left that page,
    // no key on it says so.
    wrong_newest_key: { found.header().context("no header")?.revision() }
        => { found.kvs().iter().map(|kv| kv.mod_revision()).max().unwrap_or_default() };
    // Takes the version of the first key, which counts its puts, for a revision.
    wrong_version: { let mut revision = 0; } => {
        let first = GetOptions::new().with_prefix().with_limit(1);
        let now = within(REQUEST_TIMEOUT, client.get(shelves, Some(first))).await?;
        let mut revision = now.kvs().first().context("no parcels")?.version();
    };
    // Reads the other pages one revision before the first page.
    wrong_minus_one: { context("no header")?.revision() }
        => { context("no header")?.revision() - 1 };
    // Reads the other pages one revision after the first page.
    wrong_plus_one: { context("no header")?.revision() }
        => { context("no header")?.revision() + 1 };
    // Takes the revision from each header anew. The header has the newest revision of the store,
    // even if the page was read at an older one.
    wrong_each_header: { if revision == 0 } => { if true };
    // Asks for keys that haven't changed since the first page. A key that has changed is left out,
    // instead of being read as it was.
    wrong_max_revision: { with_revision } => { with_max_mod_revision };
    // Starts over whenever something has changed. The others never stop, so it doesn't either.
    wrong_start_over: { .with_revision(revision) } => {}, { if revision == 0 } => {
        let now = found.header().context("no header")?.revision();
        if revision > 0 && revision < now {
            (revision, next) = (0, shelves.as_bytes().to_vec());
            parcels.clear();
            continue;
        }
        if revision == 0
    };

    // Begins each page with the last key of the page before, and so lists that parcel twice.
    wrong_last_key: { [last.key(), b"\0"].concat() } => { last.key().to_vec() };
    // Adds 1 to the last byte of the key. That skips the keys that begin with this one.
    wrong_next_byte: { [last.key(), b"\0"].concat() }
        => { { let mut key = last.key().to_vec(); *key.last_mut().context("no key")? += 1; key } };
    // Asks for the keys that begin with the key after the last one: there are none.
    wrong_prefix: { with_range(&*end) } => { with_prefix() };
    // Begins without the slash, and so with keys that aren't shelves.
    wrong_no_slash: { shelves.as_bytes().to_vec() } => { shelves.trim_end_matches('/').into() };
    // Ends after `shelves~`, so that `shelves2/1` is in the range.
    wrong_end: { format!("{}0", shelves.trim_end_matches('/')) }
        => { format!("{}~", shelves.trim_end_matches('/')) };
    // Stops after the first page.
    wrong_one_page: { found.more() } => { false };
    // Asks for one parcel more than `limit`.
    wrong_larger_pages: { with_limit(limit) } => { with_limit(limit + 1) };
    // Asks for pages that are so small that it takes more responses than it may.
    wrong_smaller_pages: { with_limit(limit) } => { with_limit(limit - 3) };
    // Asks for all parcels in one response.
    wrong_all_at_once: { .with_limit(limit) } => {};

    // When a page is lost, reads it again at the newest revision.
    wrong_newest_again: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Ok(found) => found,
            Err(_) => {
                let page = GetOptions::new().with_range(&*end).with_limit(limit);
                within(REQUEST_TIMEOUT, client.get(&*next, Some(page))).await?
            }
        }; };
    // When a page is lost, reads it and all later ones at the newest revision.
    wrong_newest_rest: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let Ok(found) = found else {
            revision = 0;
            continue;
        }; };
    // Reads each page twice and compares, which takes more responses than it may.
    wrong_pages_twice: { .await.context("get failed")?; } => { .await.context("get failed")?;
            let again = GetOptions::new().with_range(&*end).with_limit(limit).with_revision(revision);
            if let Some(first) = found.kvs().first() {
                let again = within(REQUEST_TIMEOUT, client.get(first.key(), Some(again))).await?;
                anyhow::ensure!(again.kvs().len() == found.kvs().len());
            }
        };
    // When etcd has forgotten the revision, goes on at the newest one. So its pages are from two
    // moments.
    wrong_forgotten: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => {
                revision = 0;
                continue;
            }
            found => found?,
        }; };
    // Sends a get again after any error. If etcd has forgotten the revision, it refuses each of
    // them.
    wrong_retries_refusal: { client.get(next, Some(page)) } => { client.get(&*next, Some(page)) },
        { .await.context("get failed")?; } => { .await; let Ok(found) = found else { continue }; };
    // Believes that an error is the end of the list.
    wrong_error_is_end: { .await.context("get failed")?; }
        => { .await; let Ok(found) = found else { return Ok(parcels) }; };
    // Believes that etcd refuses a page because there are no more.
    wrong_refusal_is_end: { .await.context("get failed")?; } => { .await; let found = match found {
            Err(error) if common::is_refusal(&error) => return Ok(parcels),
            found => found?,
        }; };
    // Has no time limit, so it waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.get(next, Some(page))) }
        => { client.get(next, Some(page)) };
}

// The mistake reads each page at the newest revision.
edits::edits! {
    "mistake.rs";

    // Removes the repetitions, but the parcels that moved to a page that was already read are
    // missing.
    wrong_dedup: { _ => return Ok(parcels) } => { _ => {
        let mut seen = std::collections::HashSet::new();
        parcels.retain(|parcel| seen.insert(parcel.clone()));
        return Ok(parcels);
    } };
}
