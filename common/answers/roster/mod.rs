//! The answers to the exercise `roster`, and the verdict on each.

mod edits;
#[path = "../../../common/class/examples/roster/experiment.rs"]
mod experiment;
mod mistake;
mod right_bell;
mod right_resume;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: the board was always what etcd had";
    let gap = "broken: a change was missed: 3s later david is not on the board";
    let quiet = "broken: it sends one get after another, while nothing changes";
    let compacted = "broken: a change was missed: 3s later henry is not on the board";
    let missing = "broken: for a moment anna was not on the board, and she had not gone";
    answers! {
        [show(client, class, draw)];
        solution: held,
        mistake: gap,
        right_bell: held,
        right_late: held,
        right_resume: held,
        right_same: held,
        wrong_begins: compacted,
        wrong_busy: "broken: the server was away for 500ms, and it sent more than 50 requests",
        wrong_delete: "broken: carla has \"\" on the board, which nobody has put",
        wrong_empty: missing,
        wrong_end: "broken: it has given up: connection lost (the request may still have been \
                 carried out)",
        wrong_event: "broken: a change was missed: 3s later ben has 9, the board has 5",
        wrong_failed: missing,
        wrong_first: "broken: ben had 9 on the board, and then 8",
        wrong_folder: "broken: class-2025/zoe is on the board, which is not below class/",
        wrong_history: quiet,
        wrong_key: "broken: a change was missed: 3s later emma is not on the board",
        wrong_merge: "broken: finn has gone, and is on the board 3s later",
        wrong_newest: quiet,
        wrong_now: gap,
        wrong_patient: "broken: what the network has lost is still waited for after 5s",
        wrong_poll: quiet,
        wrong_request: "broken: it has given up: get failed: no response within 1s (the request may still have \
                 been carried out)",
        wrong_resume: gap,
        wrong_seldom: quiet,
        wrong_silence: compacted,
        wrong_stays: "broken: carla has gone, and is on the board 3s later",
        wrong_text: "broken: a change was missed: 3s later ben has 12, the board has 9",
    }
}
