//! The answers to the exercise `fencing`, and the verdict on each.

mod edits;
#[path = "../../../lock/examples/fencing/experiment.rs"]
mod experiment;
mod mistake;
mod solution;
mod wrong_asks;
mod wrong_early;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let refused = "held: nothing was lost; of 4 paused writers, etcd refused 2";
    let lost = "broken: 2 additions were written, the number grew by 1 (1 lost)";
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
        wrong_alive: lost,
        wrong_anyway: lost,
        wrong_asks: lost,
        wrong_early: lost,
        wrong_else: "broken: the first writer says that it has not added, and it has",
        wrong_error: "broken: the response was lost: it says that it has not added, and it has",
        wrong_exists: lost,
        wrong_forget: "broken: a writer that was not paused has not unlocked",
        wrong_lease: "broken: the number is on a lease: when that ends, the number is gone",
        wrong_less: "broken: a writer that was not paused says that it has not added",
        wrong_look: "broken: the write was late, and it has added 2",
        wrong_more: "broken: the response was lost, and it has added 2",
        wrong_patient: "broken: what the network has lost is still waited for after 3s",
        wrong_same: "broken: the response was lost: it says that it has not added, and it has",
        wrong_sure: "broken: the first writer says that it has added, and it has not",
        wrong_text: "broken: a writer that was not paused, with a token of two digits, says that it has not added",
        wrong_true: "broken: the write was lost: it says that it has added, and it has not",
        wrong_unlock: "broken: the first writer says that it has not added, and it has",
        wrong_unlocked: "broken: 5 additions were written, the number grew by 4 (1 lost)",
        wrong_unsure: "broken: a writer that was not paused says that it has not added, and it has",
        wrong_zero: "broken: the number was \"many\", and add has added 1 to that",
    }
}
