//! The answers to the exercise `fencing`, and the verdict on each.

mod edits;
#[path = "../../../lock/examples/fencing/experiment.rs"]
mod experiment;
mod mistake;
mod solution;
mod wrong_checks_first;
mod wrong_reads_first;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let refused = "held: nothing was lost; of 4 paused writers, etcd refused 2";
    let lost = "broken: 2 additions were written, but the number grew by 1 (1 lost)";
    answers! {
        [add(client, session, lock, key)];
        solution: refused,
        mistake: lost,
        right_again: refused,
        right_both: refused,
        right_drop: "held: nothing was lost; of 3 paused writers, etcd refused 2",
        right_less: refused,
        right_number: "held: nothing was lost; of 4 paused writers, etcd refused 1",
        right_token: "held: nothing was lost; of 5 paused writers, etcd refused 3",
        wrong_checks_alive: lost,
        wrong_writes_anyway: lost,
        wrong_checks_first: lost,
        wrong_reads_first: lost,
        wrong_or_else: "broken: the first writer returned false, but it had added",
        wrong_error_is_false: "broken: the response was lost: add returned false, but it had added",
        wrong_always_true: lost,
        wrong_no_unlock: "broken: 1s after add returned, the lock is not free",
        wrong_on_lease: "broken: the number is on a lease, so it will disappear",
        wrong_value_less: "broken: a writer that was not paused returned false, although it had the lock",
        wrong_looks_again: "broken: the write was late, and add added 2",
        wrong_adds_again: "broken: the response was lost, and add added 2",
        wrong_no_limit: "broken: after 3s, it still waits for a response that was lost",
        wrong_repeats: "broken: the response was lost: add returned false, but it had added",
        wrong_returns_true: "broken: the first writer returned true, but it had not added",
        wrong_text: "broken: a writer with a token of two digits returned false, although it had the lock",
        wrong_error_is_true: "broken: the write was lost: add returned true, but it had not added",
        wrong_trusts_unlock: "broken: the first writer returned false, but it had added",
        wrong_without_lock: "broken: 5 additions were written, but the number grew by 4 (1 lost)",
        wrong_returns_false: "broken: a writer that was not paused returned false, but it had added",
        wrong_zero: "broken: the value was \"many\", but add added 1 to it",
    }
}
