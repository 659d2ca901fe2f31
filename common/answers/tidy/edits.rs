//! Answers that are a small edit away from another answer.

// The solution gets all jobs. It deletes each job that is done in a transaction of its own, on
// condition that the job's `mod_revision` is still the same.
edits::edits! {
    "solution.rs";

    // Compares the value itself. A job that was restarted and is done again may be deleted, too.
    right_value: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { value(job.key(), CompareOp::Equal, "done") };
    // Compares with the revision of the store at the get: any later change of the job has a newer
    // one.
    right_since: { CompareOp::Equal, job.mod_revision() }
        => { CompareOp::Less, jobs.header().context("no header")?.revision() + 1 };

    // Compares with the revision of the store, which only the key that has changed last has.
    wrong_store_revision: { job.mod_revision() }
        => { jobs.header().context("no header")?.revision() };
    // Asks for a revision before the store's, and so leaves the job that has changed last.
    wrong_no_plus_one: { CompareOp::Equal, job.mod_revision() }
        => { CompareOp::Less, jobs.header().context("no header")?.revision() };
    // Compares the revision of the job's first put, which a new value doesn't change.
    wrong_create_revision: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { create_revision(job.key(), CompareOp::Equal, job.create_revision()) };
    // Compares the version, which counts the puts. If the job was deleted and put again, it counts
    // from 1 again.
    wrong_version: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { version(job.key(), CompareOp::Equal, job.version()) };
    // Gets the job once more and compares with that, but never checks whether it is still done.
    wrong_second_get: { let delete = } => {
        let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
        let Some(job) = now.kvs().first() else { continue };
        let delete =
    };

    // Asks for all keys that begin with `jobs`, so that `jobs-old/1` is one of them.
    wrong_no_slash: { format!("{folder}/") } => { folder };
    // Deletes all keys that begin with the job's, for instance `jobs/10` with `jobs/1`.
    wrong_deletes_prefix: { TxnOp::delete(job.key(), None) }
        => { TxnOp::delete(job.key(), Some(etcd_client::DeleteOptions::new().with_prefix())) };
    // Believes that any job that isn't running is done.
    wrong_not_running: { job.value() == b"done" } => { job.value() != b"running" };
    // Deletes every job.
    wrong_every_job: { job.value() == b"done" } => { true };

    // Lets etcd check only that the job isn't running. A restarted job may be waiting.
    wrong_compares_running: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { value(job.key(), CompareOp::NotEqual, "running") };

    // Counts every attempt, even if the comparison was false and nothing was deleted.
    wrong_counts_attempts: { i64::from(response.succeeded()) } => { 1 };
    // Stops at the first job that has changed, although others are done.
    wrong_stops_at_change: { removed += i64::from(response.succeeded()); }
        => { if !response.succeeded() { break } removed += 1; };
    // Returns an error when a job has changed.
    wrong_change_is_error: { removed += i64::from(response.succeeded()); }
        => { anyhow::ensure!(response.succeeded(), "the job has changed"); removed += 1; };

    // Assumes that nothing was deleted if no response came, and returns too small a number.
    wrong_skips_error: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { continue }; };
    // Assumes that there are no jobs if the get has failed.
    wrong_error_is_empty: { let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
            .await
            .context("get failed")?; } => {
            let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below))).await;
            let Ok(jobs) = jobs else { return Ok(0) };
        };
    // Without a response, sends the same transaction once more. If the first one has deleted the
    // job, the second finds none, and the job isn't counted.
    wrong_resend: { .await.context("txn failed")?; } => { .await; let response = match response {
        Ok(response) => response,
        Err(_) => {
            let delete = Txn::new()
                .when([Compare::mod_revision(job.key(), CompareOp::Equal, job.mod_revision())])
                .and_then([TxnOp::delete(job.key(), None)]);
            within(REQUEST_TIMEOUT, client.txn(delete)).await?
        }
    }; };
    // Without a response, sends the same transaction once more, and counts the job in any case.
    // Another program may have deleted it.
    wrong_resend_counts: { .await.context("txn failed")?; } => { .await; },
        { let response = } => { let again = delete.clone(); let response = },
        { removed += i64::from(response.succeeded()); } => {
            match response {
                Ok(response) => removed += i64::from(response.succeeded()),
                Err(_) => {
                    within(REQUEST_TIMEOUT, client.txn(again)).await?;
                    removed += 1;
                }
            }
        };
    // Without a response, looks for the job and counts it if it is gone. Another program may have
    // deleted it.
    wrong_gone_is_mine: { .await.context("txn failed")?; } => { .await; },
        { removed += i64::from(response.succeeded()); } => {
            match response {
                Ok(response) => removed += i64::from(response.succeeded()),
                Err(_) => {
                    let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
                    removed += i64::from(now.kvs().is_empty());
                }
            }
        };
    // Without a response, looks for the job and tries again if it is still there. The first delete
    // may still be on its way.
    wrong_look_then_retry: { .await.context("txn failed")?; } => { .await; let response = match response {
        Ok(response) => response,
        Err(error) => {
            let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
            if now.kvs().is_empty() {
                return Err(error);
            }
            let delete = Txn::new()
                .when([Compare::mod_revision(job.key(), CompareOp::Equal, job.mod_revision())])
                .and_then([TxnOp::delete(job.key(), None)]);
            within(REQUEST_TIMEOUT, client.txn(delete)).await?
        }
    }; };
    // Takes a value that begins with `done`, such as `done soon`, to be done.
    wrong_starts_with: { job.value() == b"done" } => { job.value().starts_with(b"done") };
    // Takes a value that contains `done`, such as `not done`, to be done.
    wrong_contains: { job.value() == b"done" } => { job.value_str()?.contains("done") };
    // Takes `Done` to be the same value as `done`.
    wrong_ignores_case: { job.value() == b"done" } => { job.value().eq_ignore_ascii_case(b"done") };
    // Looks only at the first ten jobs.
    wrong_first_ten: { let below = GetOptions::new().with_prefix(); }
        => { let below = GetOptions::new().with_prefix().with_limit(10); };
    // Has no time limit, so it waits forever for a response that was lost.
    wrong_no_limit: { within(REQUEST_TIMEOUT, client.txn(delete)).await }
        => { client.txn(delete).await };
}

// This answer deletes all jobs that are done in one transaction.
edits::edits! {
    "right_one_txn.rs";

    // If one of the jobs has changed, deletes none of them.
    wrong_all_or_none: { if response.succeeded() }
        => { if !response.succeeded() { return Ok(0) } if true };
}
