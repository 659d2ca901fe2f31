//! The answers to the exercise `roster`, and the verdict on each.

mod edits;
#[path = "../../../common/class/examples/roster/experiment.rs"]
mod experiment;
mod mistake;
mod right_relists;
mod right_resume;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: the board was always what etcd had";
    let gap = "broken: a change was missed: 3s later david is not on the board";
    let quiet = "broken: it sends one get after another, while nothing changes";
    let compacted = "broken: a change was missed: 3s later henry is not on the board";
    let missing = "broken: for a moment anna was not on the board, although she was there";
    answers! {
        [show(client, class, draw)];
        solution: held,
        mistake: gap,
        right_relists: held,
        right_draws_later: held,
        right_resume: held,
        right_same_revision: held,
        wrong_history_start: compacted,
        wrong_no_pause: "broken: it sent more than 10 requests without a pause",
        wrong_delete_as_put: "broken: carla has \"\" on the board, but nobody put that",
        wrong_empty_first: missing,
        wrong_no_retry: "broken: it returned an error: connection lost (the request may still have been \
                 carried out)",
        wrong_first_event: "broken: a change was missed: 3s later ben has 9, but the board says 5",
        wrong_error_is_empty: missing,
        wrong_watch_first: "broken: ben had 9 on the board, and then 8",
        wrong_no_slash: "broken: class-2025/zoe is on the board, but is not below class/",
        wrong_all_history: quiet,
        wrong_single_key: "broken: a change was missed: 3s later emma is not on the board",
        wrong_merge: "broken: finn has gone, but is still on the board 3s later",
        wrong_newest_key: quiet,
        wrong_now: gap,
        wrong_no_limit: "broken: after 5s, it still waits for a response that was lost",
        wrong_poll: quiet,
        wrong_request_ends: "broken: it returned an error: get failed: no response within 1s (the request may still have \
                 been carried out)",
        wrong_resume: gap,
        wrong_relists: quiet,
        wrong_ignores_canceled: compacted,
        wrong_ignores_deletes: "broken: carla has gone, but is still on the board 3s later",
        wrong_text: "broken: a change was missed: 3s later ben has 12, but the board says 9",
    }
}
