//! The answers to the exercise `heartbeat`, and the verdict on each.

mod edits;
#[path = "../../../keepalive/examples/heartbeat/experiment.rs"]
mod experiment;
mod mistake;
mod right_stream;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let held = "held: stayed registered through the restart, noticed each loss, registered again";
    let wrong = "broken: for 3.0s it said that it was registered, but it was not";
    let again =
        "broken: the entry was put again while nothing happened, which wakes all who watch it";
    let put = "broken: it said that it was registered before etcd had carried out the put";
    let late = "broken: a renewal was 600ms late, and the lease of 2 s was lost";
    let never = "broken: the network was back for 3s, but it has not registered again";
    let busy = "broken: it sent more than 10 requests without a pause";
    answers! {
        [stay(client, key, ttl, registered)];
        solution: held,
        mistake: wrong,
        right_stream: held,
        right_half: held,
        wrong_busy: busy,
        wrong_any_error:
            "broken: the entry was put again while its lease lived, although the server was back in time",
        wrong_before_put: put,
        wrong_blocks_thread: "broken: it blocked the thread for 1.5s",
        wrong_ends_after_wait: "broken: it returned an error: etcd was away for too long",
        wrong_ends_on_error: "broken: it returned an error: a renewal failed",
        wrong_ends_without_lease: "broken: it returned an error: grant failed: no response within 1s (the request may still \
                 have been carried out)",
        wrong_extra_response: "broken: it has asked for a renewal, but it does not say that it is registered",
        wrong_ignores_put: put,
        wrong_ignores_ttl: wrong,
        wrong_ignores_ttl_later: wrong,
        wrong_last_moment: late,
        wrong_last_moment_stream: late,
        wrong_long_pause: never,
        wrong_longer_ttl: "broken: the entry is on a lease of 3 s, but it should be 2 s",
        wrong_never_again: never,
        wrong_never_false: wrong,
        wrong_no_deadline: wrong,
        wrong_no_lease: "broken: the entry is not on a lease",
        wrong_no_limit: wrong,
        wrong_no_pause: busy,
        wrong_puts_again: again,
        wrong_puts_late: again,
        wrong_renews_once: wrong,
        wrong_two_responses: again,
        wrong_unused_leases: "broken: it asked for another lease while the first one lived",
    }
}
