//! The answers to the exercise `tidy`, and the verdict on each.

mod edits;
#[path = "../../../delete/examples/tidy/experiment.rs"]
mod experiment;
mod mistake;
mod right_one_txn;
mod solution;
mod wrong_looks_twice;
mod wrong_puts_back;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: the jobs that were done are gone, and nothing else is";
    let left =
        |stayed, left| format!("broken: {stayed} jobs stayed done, but tidy left {left} of them");
    let restarted = |jobs| format!("broken: tidy deleted jobs that were no longer done: {jobs}");
    let returned =
        |count, deleted| format!("broken: tidy returned {count}, but it deleted {deleted}");
    let others = |keys| format!("broken: tidy deleted keys that are not jobs, or not done: {keys}");
    let running: Vec<String> = (10..=16).map(|number| format!("jobs/{number}")).collect();
    let running = running.join(", ");
    answers! {
        [tidy(client, folder)];
        solution: held,
        mistake: restarted("jobs/2, jobs/4"),
        right_one_txn: held,
        right_since: held,
        right_value: held,
        wrong_looks_twice: restarted("jobs/2"),
        wrong_gone_is_mine: returned(4, 3),
        wrong_no_slash: others("jobs-old/1, jobs2/1"),
        wrong_all_or_none: left(2, 2),
        wrong_change_is_error: "broken: it returned an error: the job has changed",
        wrong_compares_running: restarted("jobs/4"),
        wrong_contains: others("jobs/7, jobs/8"),
        wrong_counts_attempts: returned(4, 2),
        wrong_create_revision: restarted("jobs/2"),
        wrong_deletes_prefix: others(&running),
        wrong_error_is_empty: left(4, 4),
        wrong_every_job: others(&format!("{running}, jobs/5, jobs/6, jobs/7, jobs/8, jobs/9")),
        wrong_first_ten: left(4, 1),
        wrong_ignores_case: others("jobs/9"),
        wrong_look_then_retry: returned(3, 4),
        wrong_no_limit: "broken: after 5s, it still waits for a response that was lost",
        wrong_no_plus_one: left(2, 1),
        wrong_not_running: others("jobs/6, jobs/7, jobs/8, jobs/9"),
        wrong_puts_back: "broken: tidy must only delete, but it put jobs/2, jobs/4",
        wrong_resend: returned(3, 4),
        wrong_resend_counts: returned(4, 3),
        wrong_second_get: restarted("jobs/2, jobs/4"),
        wrong_skips_error: returned(3, 4),
        wrong_starts_with: others("jobs/8"),
        wrong_stops_at_change: left(2, 1),
        wrong_store_revision: left(2, 1),
        wrong_version: restarted("jobs/4"),
    }
}
