//! The answers to the exercise `counter`, and the verdict on each.

mod edits;
#[path = "../../../put-get/examples/counter/experiment.rs"]
mod experiment;
mod mistake;
mod right_else;
mod solution;
mod wrong_mutex;
mod wrong_once;
mod wrong_spawn;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let right = "held: nothing was lost, and nothing was added twice";
    let mine = "broken: the request was lost, and another program added 1: add says that it has added 1, \
                and it has not";
    let lost = "broken: 8 clients added 400, the counter says 50 (350 updates lost)";
    let overtaken = "broken: another program added 10 and you added 1, the counter says 1";
    let in_vain = "broken: 20 requests have not added 1, and nobody else has written the counter, only \
                   other keys";
    answers! {
        [add(client, key)];
        solution: right,
        mistake: lost,
        right_else: right,
        right_since: right,
        right_value: right,
        wrong_again: "broken: the response was lost: you added 1, and the counter says 2",
        wrong_else: in_vain,
        wrong_first: lost,
        wrong_later: lost,
        wrong_lock: overtaken,
        wrong_look: "broken: the request was late: you added 1, and the counter says 2",
        wrong_lost: "broken: the connection was lost: you added 1, and the counter says 2",
        wrong_mine: mine,
        wrong_mutex: overtaken,
        wrong_once: "broken: 8 clients added 400, the counter says 50 (350 were never put)",
        wrong_patient: "broken: what the network has lost is still waited for after 5s",
        wrong_refused: "broken: it has given up: another client was faster",
        wrong_same: mine,
        wrong_silent: "broken: the request was lost: add says that it has added 1, and it has not",
        wrong_spawn: "broken: add has returned, and etcd responds to it later",
        wrong_store: in_vain,
        wrong_ten: "broken: another program added 200 and you added 1, the counter says 200",
        wrong_three: "broken: 8 clients added 400, the counter says [..] were never put)",
        wrong_twice: "broken: 8 clients added 400, the counter says [..] updates lost)",
        wrong_unread: "broken: the first request was lost: add says that it has added 1, and it has not",
        wrong_version: in_vain,
        wrong_zero: "broken: the counter said \"many\", and add has added 1 to that",
    }
}
