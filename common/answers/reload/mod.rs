//! The answers to the exercise `reload`, and the verdict on each.

mod edits;
#[path = "../../../watch/examples/reload/experiment.rs"]
mod experiment;
mod mistake;
mod right_event_then_get;
mod right_watch_first;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let missed = |newest, has| {
        format!("broken: etcd has had {newest} for 3s, but the program still has {has}")
    };
    let older = |newer, older| format!("broken: after {newer}, follow applied the older {older}");
    let twice = |value| format!("broken: {value} was put once, but follow applied it twice");
    let held = "held: the newest value was applied each time, and nothing twice";
    let gets = "broken: it sends one get after another, while nothing changes";
    let watches = "broken: it begins one watch after another, while nothing changes";
    answers! {
        [follow(client, key, apply)];
        solution: held,
        mistake: missed("v3", "v1"),
        right_gets_again: held,
        right_watch_first: held,
        right_event_then_get: held,
        wrong_from_now: missed("v6", "v4"),
        wrong_first_revision: older("v4", "v2"),
        wrong_skips_get: missed("v16", "v13"),
        wrong_applies_older: older("v3", "v2"),
        wrong_asks_progress: "broken: it sends something on its stream, while nothing changes",
        wrong_compares_text: missed("v10", "v9"),
        wrong_dead_stream: "broken: it blocked the thread for 1.5s",
        wrong_drops_responses: missed("v3", "v1"),
        wrong_first_event: missed("v3", "v2"),
        wrong_from_created: missed("v8", "v6"),
        wrong_gets_when_idle: gets,
        wrong_ignores_canceled: missed("v16", "v13"),
        wrong_ignores_second_cancel: missed("v16", "v15"),
        wrong_key_revision: gets,
        wrong_list_then_now: missed("v20", "v19"),
        wrong_long_limit: watches,
        wrong_long_pause: missed("v8", "v6"),
        wrong_never_retries: "broken: it returned an error: connection lost (the request may still have been carried \
                 out)",
        wrong_no_limit: "broken: after 5s, it still waits for a response that was lost",
        wrong_no_pause: "broken: it sent more than 10 requests without a pause",
        wrong_plus_two: missed("v20", "v19"),
        wrong_polls: gets,
        wrong_prefix: "broken: follow applied \"other\", which is the value of another key",
        wrong_replays_past: older("v6", "v5"),
        wrong_retries_stream: "broken: it returned an error: watch failed: no response within 1s (the request may still have \
                 been carried out)",
        wrong_same_as_event: twice("v4"),
        wrong_same_as_get: twice("v1"),
        wrong_short_limit: watches,
    }
}
