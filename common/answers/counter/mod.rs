//! The answers to the exercise `counter`, and the verdict on each.

mod edits;
#[path = "../../../put-get/examples/counter/experiment.rs"]
mod experiment;
mod mistake;
mod right_else;
mod solution;
mod wrong_ignores_succeeded;
mod wrong_mutex;
mod wrong_spawn;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: nothing was lost, and nothing was added twice";
    let lost = "broken: 8 clients added 400, the counter says 50 (350 additions lost)";
    let others_lost = "broken: another program added 10, you added 1, the counter says 1";
    let never = "broken: add took more than 20 requests, although nobody else added";
    let not_mine = "broken: the request was lost, and another program added 1: add returned Ok, but it had \
                    not added 1";
    answers! {
        [add(client, key)];
        solution: held,
        mistake: lost,
        right_else: held,
        right_since: held,
        right_value: held,
        wrong_blind_retry: "broken: the response was lost: you added 1, the counter says 2",
        wrong_mutex: others_lost,
        wrong_store_revision: never,
        wrong_create_revision: lost,
        wrong_else_revision: never,
        wrong_greater: lost,
        wrong_ignores_get_error: "broken: the first request was lost: add returned Ok, but it had not added 1",
        wrong_ignores_succeeded: "broken: 8 clients added 400, the counter says 50 (350 were never put)",
        wrong_ignores_txn_error: "broken: the request was lost: add returned Ok, but it had not added 1",
        wrong_late_is_error: "broken: it returned an error: another client was faster",
        wrong_lock: others_lost,
        wrong_look_then_retry: "broken: the request was late: you added 1, the counter says 2",
        wrong_lost_connection: "broken: the connection was lost: you added 1, the counter says 2",
        wrong_no_limit: "broken: after 5s, it still waits for a response that was lost",
        wrong_number_is_mine: not_mine,
        wrong_resend: not_mine,
        wrong_spawn: "broken: add returned before etcd had responded to its last request",
        wrong_ten_tries: "broken: another program added 200, you added 1, the counter says 200",
        wrong_text_is_zero: "broken: the counter said \"many\": add must return an error and leave it",
        wrong_three_tries: "broken: 8 clients added 400, the counter says [..] were never put)",
        wrong_two_gets: "broken: 8 clients added 400, the counter says [..] additions lost)",
        wrong_version: never,
    }
}
