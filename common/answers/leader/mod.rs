//! The answers to the exercise `leader`, and the verdict on each.

mod edits;
#[path = "../../../lock/examples/leader/experiment.rs"]
mod experiment;
mod mistake;
mod right_campaign;
mod right_lease;
mod solution;
mod wrong_asks_etcd;
mod wrong_no_lease;
mod wrong_put_when_free;
mod wrong_same_session;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let leader = "held: there was always another leader, and never two at once";
    let two = "broken: for a second there were two leaders at once";
    let late = "broken: the first said for [..] s after it lost its session that it led";
    let no_second = "broken: after the first was cut off, there was no new leader for 6s";
    let no_first =
        "broken: with the first, which was cut off and is back, there was no new leader for 6s";
    let busy = "broken: a candidate sent more than 10 requests without a pause";
    answers! {
        [stand(client, lock, ttl, leads)];
        solution: leader,
        mistake: two,
        right_lease: leader,
        right_campaign: leader,
        right_open: leader,
        right_pause: leader,
        right_try: leader,
        wrong_asks_etcd: two,
        wrong_busy: busy,
        wrong_polls_often: late,
        wrong_before_lock: two,
        wrong_blocks_thread: "broken: it blocked the thread for 1.5s",
        wrong_busy_sessions: busy,
        wrong_polls_seldom: late,
        wrong_polls: late,
        wrong_closes_first: two,
        wrong_drops_guard: two,
        wrong_ends_on_error: "broken: it returned an error: cannot open a session: no response within 1s (the request \
                 may still have been carried out)",
        wrong_extra_response: "broken: with one candidate, there was no new leader for 6s",
        wrong_fixed_term: "broken: the second stopped leading, although nothing had happened",
        wrong_grace: late,
        wrong_ignores_none: two,
        wrong_longer_ttl: "broken: the leader is on a lease of 4 s, but it should be 2 s",
        wrong_no_lease: no_second,
        wrong_no_pause: busy,
        wrong_own_lock: two,
        wrong_put_when_free: two,
        wrong_same_session: no_first,
        wrong_stands_once: no_first,
        wrong_takes_turns: "broken: the first stopped leading, although nothing had happened",
    }
}
