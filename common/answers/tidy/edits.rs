//! Answers that are one edit away from another one.

edits::edits! {
    "solution.rs";

    // Right: a job that is done again may be deleted, too.
    right_value: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { value(job.key(), CompareOp::Equal, "done") };
    // Right: nobody has changed it since all jobs were read.
    right_since: { CompareOp::Equal, job.mod_revision() }
        => { CompareOp::Less, jobs.header().context("no header")?.revision() + 1 };

    // The store's revision, in place of the job's.
    wrong_store: { job.mod_revision() } => { jobs.header().context("no header")?.revision() };
    // Without the last change that the response has.
    wrong_before: { CompareOp::Equal, job.mod_revision() }
        => { CompareOp::Less, jobs.header().context("no header")?.revision() };
    // A new value does not change it.
    wrong_create: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { create_revision(job.key(), CompareOp::Equal, job.create_revision()) };
    // A new job with the name of a deleted one has the same.
    wrong_version: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { version(job.key(), CompareOp::Equal, job.version()) };
    // Compares with what it reads now, and what that says it does not look at.
    wrong_fresh: { let delete = } => {
        let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
        let Some(job) = now.kvs().first() else { continue };
        let delete =
    };

    // Keys that are no jobs, or no jobs that are done.
    wrong_prefix: { format!("{folder}/") } => { folder };
    wrong_below: { TxnOp::delete(job.key(), None) }
        => { TxnOp::delete(job.key(), Some(etcd_client::DeleteOptions::new().with_prefix())) };
    wrong_running: { job.value() == b"done" } => { job.value() != b"running" };
    wrong_every: { job.value() == b"done" } => { true };

    // A job that is not running need not be done.
    wrong_not: { mod_revision(job.key(), CompareOp::Equal, job.mod_revision()) }
        => { value(job.key(), CompareOp::NotEqual, "running") };

    // Counts what it has tried.
    wrong_count: { i64::from(response.succeeded()) } => { 1 };
    // Others are done all the same.
    wrong_stop: { removed += i64::from(response.succeeded()); }
        => { if !response.succeeded() { break } removed += 1; };
    wrong_refused: { removed += i64::from(response.succeeded()); }
        => { anyhow::ensure!(response.succeeded(), "the job has changed"); removed += 1; };

    // No response is taken for: nothing was deleted.
    wrong_partial: { .await.context("txn failed")?; }
        => { .await; let Ok(response) = response else { continue }; };
    // No jobs are found where there is no response.
    wrong_none: { let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below)))
            .await
            .context("get failed")?; } => {
            let jobs = within(REQUEST_TIMEOUT, client.get(format!("{folder}/"), Some(below))).await;
            let Ok(jobs) = jobs else { return Ok(0) };
        };
    // The second time it is gone already.
    wrong_again: { .await.context("txn failed")?; } => { .await; let response = match response {
        Ok(response) => response,
        Err(_) => {
            let delete = Txn::new()
                .when([Compare::mod_revision(job.key(), CompareOp::Equal, job.mod_revision())])
                .and_then([TxnOp::delete(job.key(), None)]);
            within(REQUEST_TIMEOUT, client.txn(delete)).await?
        }
    }; };
    // It takes the delete for its own.
    wrong_mine: { .await.context("txn failed")?; } => { .await; },
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
    // Takes a job that is gone for one that it has removed.
    wrong_gone: { .await.context("txn failed")?; } => { .await; },
        { removed += i64::from(response.succeeded()); } => {
            match response {
                Ok(response) => removed += i64::from(response.succeeded()),
                Err(_) => {
                    let now = within(REQUEST_TIMEOUT, client.get(job.key(), None)).await?;
                    removed += i64::from(now.kvs().is_empty());
                }
            }
        };
    // No response: looks, and tries again if the job is there. The delete may still come.
    wrong_still: { .await.context("txn failed")?; } => { .await; let response = match response {
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
    // Other values than the one that it was asked for.
    wrong_begins: { job.value() == b"done" } => { job.value().starts_with(b"done") };
    wrong_contains: { job.value() == b"done" } => { job.value_str()?.contains("done") };
    wrong_case: { job.value() == b"done" } => { job.value().eq_ignore_ascii_case(b"done") };
    // The first jobs only.
    wrong_limit: { let below = GetOptions::new().with_prefix(); }
        => { let below = GetOptions::new().with_prefix().with_limit(10); };
    // No limit: a lost response is waited for for ever.
    wrong_patient: { within(REQUEST_TIMEOUT, client.txn(delete)).await }
        => { client.txn(delete).await };
}

edits::edits! {
    "right_all.rs";

    // If one has changed, none is deleted.
    wrong_all: { if response.succeeded() } => { if !response.succeeded() { return Ok(0) } if true };
}
