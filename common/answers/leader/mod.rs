//! The answers to the exercise `leader`, and the verdict on each.

mod edits;
#[path = "../../../lock/examples/leader/experiment.rs"]
mod experiment;
mod mistake;
mod right_campaign;
mod right_lease;
mod solution;
mod wrong_asks;
mod wrong_put;
mod wrong_same;
mod wrong_stay;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let leader = "held: there was always another leader, and never two at once";
    let two = "broken: for a second there were two leaders at once";
    let late = "broken: the first was cut off, and said for [..] s after the loss of its session that it led";
    let no_second = "broken: after the first was cut off, there was no new leader for 6s";
    let no_first =
        "broken: with the first, which was cut off and is back, there was no new leader for 6s";
    answers! {
        [stand(client, lock, ttl, leads)];
        solution: leader,
        mistake: two,
        right_campaign: leader,
        right_lease: leader,
        right_open: leader,
        right_try: leader,
        wrong_asks: two,
        wrong_busy: "broken: a candidate sends more than 100 requests in a second, while another one leads",
        wrong_close: two,
        wrong_drop: two,
        wrong_early: two,
        wrong_grace: late,
        wrong_half: late,
        wrong_leave: no_first,
        wrong_often: late,
        wrong_once: "broken: it has given up: cannot open a session: no response within 1s (the request \
                 may still have been carried out)",
        wrong_open: "broken: a candidate opens more than 20 sessions in a second, while another one leads",
        wrong_own: two,
        wrong_put: two,
        wrong_reads: "broken: with one candidate, there was no new leader for 6s",
        wrong_same: no_first,
        wrong_second: late,
        wrong_stay: no_second,
        wrong_term: "broken: the second has stopped leading, and nothing had happened",
        wrong_thread: "broken: for 1.5s it has let nothing else run",
        wrong_try: two,
        wrong_ttl: "broken: the leader has a lease of 4 s, and it was to be 2 s",
        wrong_turns: "broken: the first has stopped leading, and nothing had happened",
    }
}
