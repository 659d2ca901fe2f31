//! The answers to the exercise `tidy`, and the verdict on each.

mod edits;
#[path = "../../../delete/examples/tidy/experiment.rs"]
mod experiment;
mod mistake;
mod right_all;
mod solution;
mod wrong_back;
mod wrong_look;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let right = "held: the jobs that were done are gone, and nothing else";
    let left = "broken: of 2 jobs that stayed done, 2 are still there";
    let one = "broken: of 2 jobs that stayed done, 1 are still there";
    let both = "broken: newer values were destroyed: jobs/2, jobs/4";
    let says = |counted, removed| {
        format!("broken: tidy says that it removed {counted}, etcd has removed {removed}")
    };
    let running: Vec<String> = (10..=16).map(|number| format!("jobs/{number}")).collect();
    let running = running.join(", ");
    let taken = |what| format!("broken: what was not done, or no job at all, is gone: {what}");
    answers! {
        [tidy(client, folder)];
        solution: right,
        mistake: both,
        right_all: right,
        right_since: right,
        right_value: right,
        wrong_again: says(3, 4),
        wrong_all: left,
        wrong_back: "broken: tidy itself has put jobs/2, jobs/4",
        wrong_before: one,
        wrong_begins: taken("jobs/8"),
        wrong_below: taken(&running),
        wrong_case: taken("jobs/9"),
        wrong_contains: taken("jobs/7, jobs/8"),
        wrong_count: says(4, 2),
        wrong_create: "broken: newer values were destroyed: jobs/2",
        wrong_every: taken(&format!("{running}, jobs/5, jobs/6, jobs/7, jobs/8, jobs/9")),
        wrong_fresh: both,
        wrong_gone: says(4, 3),
        wrong_limit: "broken: of 4 jobs that stayed done, 1 are still there",
        wrong_look: "broken: newer values were destroyed: jobs/2",
        wrong_mine: says(4, 3),
        wrong_none: "broken: of 4 jobs that stayed done, 4 are still there",
        wrong_not: "broken: newer values were destroyed: jobs/4",
        wrong_partial: says(3, 4),
        wrong_patient: "broken: what the network has lost is still waited for after 5s",
        wrong_prefix: taken("jobs-old/1, jobs2/1"),
        wrong_refused: "broken: it has given up: the job has changed",
        wrong_running: taken("jobs/6, jobs/7, jobs/8, jobs/9"),
        wrong_still: says(3, 4),
        wrong_stop: "broken: of 2 jobs that stayed done, 1 are still there",
        wrong_store: one,
        wrong_version: "broken: newer values were destroyed: jobs/4",
    }
}
