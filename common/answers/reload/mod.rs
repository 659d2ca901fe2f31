//! The answers to the exercise `reload`, and the verdict on each.

mod edits;
#[path = "../../../watch/examples/reload/experiment.rs"]
mod experiment;
mod mistake;
mod right_ring;
mod right_watch;
mod solution;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let missed = |newest, has| {
        format!("broken: a change was missed: etcd has had {newest} for 3s, the program has {has}")
    };
    let older = |newer, older| format!("broken: after {newer}, the older {older} was applied");
    let twice = |value| format!("broken: {value} was put once, and applied twice");
    let held = "held: the newest value was applied each time, and nothing twice";
    let asks = "broken: it sends one get after another, while nothing changes";
    answers! {
        [follow(client, key, apply)];
        solution: held,
        mistake: missed("v3", "v1"),
        right_list: held,
        right_ring: held,
        right_watch: held,
        wrong_again: twice("v4"),
        wrong_busy: "broken: the server was away for 500ms, and it sent more than 50 requests",
        wrong_confirmed: missed("v8", "v6"),
        wrong_drop: missed("v3", "v1"),
        wrong_early: older("v3", "v2"),
        wrong_end: "broken: it has given up: connection lost (the request may still have been carried \
                 out)",
        wrong_event: missed("v3", "v2"),
        wrong_header: twice("v1"),
        wrong_history: missed("v23", "v21"),
        wrong_idle: asks,
        wrong_key: asks,
        wrong_late: missed("v20", "v19"),
        wrong_limit: "broken: it begins one watch after another, while nothing changes",
        wrong_list: missed("v20", "v19"),
        wrong_now: missed("v6", "v4"),
        wrong_older: older("v6", "v5"),
        wrong_patient: "broken: what the network has lost is still waited for after 5s",
        wrong_poll: asks,
        wrong_prefix: "broken: \"other\" was applied, which is the value of another key",
        wrong_progress: "broken: it sends something on its stream, while nothing changes",
        wrong_request: "broken: it has given up: watch failed: no response within 1s (the request may still have \
                 been carried out)",
        wrong_revision: older("v4", "v2"),
        wrong_seldom: "broken: it begins one watch after another, while nothing changes",
        wrong_silence: missed("v16", "v13"),
        wrong_spin: "broken: for 1.5s it has let nothing else run",
        wrong_text: missed("v10", "v9"),
    }
}
