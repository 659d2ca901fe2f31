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
    let held = "held: registered over a restart; not registered, and knew it; registered again";
    let wrong = "broken: for 3.0s it said that it was registered, and etcd said that it was not";
    let put = "broken: it said that it was registered, and etcd had not carried out the put";
    let late = "broken: a renewal was 600ms late, and the lease of 2 s was lost";
    answers! {
        [stay(client, key, ttl, registered)];
        solution: held,
        mistake: wrong,
        right_half: held,
        right_new: held,
        right_stream: held,
        wrong_busy: "broken: it opens more than 20 streams of renewals in a second",
        wrong_deaf: wrong,
        wrong_early: put,
        wrong_forever: "broken: the entry is on no lease",
        wrong_grant: "broken: it has given up: grant failed: no response within 1s (the request may still \
                 have been carried out)",
        wrong_last: late,
        wrong_late: wrong,
        wrong_latest: late,
        wrong_lazy: wrong,
        wrong_leak: "broken: it asked for another lease, and the first one lived",
        wrong_leave: "broken: it has given up: a renewal failed",
        wrong_longer: "broken: the entry is on a lease of 3 s, and it was to be 2 s",
        wrong_once: wrong,
        wrong_patient: wrong,
        wrong_proud: wrong,
        wrong_put: "broken: the entry was put again while nothing happened, which wakes all that watch it",
        wrong_reconnect: "broken: it has given up: etcd was away for too long",
        wrong_second: "broken: it has asked for a renewal, and it does not say that it is registered",
        wrong_seldom: "broken: the entry was put again while nothing happened, which wakes all that watch it",
        wrong_slow: "broken: the network has been back for 3s, and it is not registered again",
        wrong_stop: "broken: the network has been back for 3s, and it is not registered again",
        wrong_swallow: put,
        wrong_thread: "broken: for 1.5s it has let nothing else run",
        wrong_two: "broken: the entry was put again while nothing happened, which wakes all that watch it",
    }
}
