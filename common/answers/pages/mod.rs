//! The answers to the exercise `pages`, and the verdict on each.

mod edits;
#[path = "../../../put-get/examples/pages/experiment.rs"]
mod experiment;
mod mistake;
mod right_back;
mod solution;
mod wrong_keys;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let list = |missing, twice| {
        format!(
            "broken: 110 parcels were there at every moment, {missing} of them are missing in the \
             list and {twice} are in it more than once"
        )
    };
    let all = "held: all 110 parcels, each once, as they lay at one moment";
    let other = "broken: the list has \"no parcel\", which lies on no shelf";
    let more = "broken: 110 parcels take 11 responses, etcd gave 15, and you ask for more";
    answers! {
        [read(client, shelves, limit)];
        solution: all,
        mistake: list(10, 10),
        right_back: all,
        right_first: all,
        right_full: all,
        right_over: all,
        right_retry: all,
        wrong_after: list(1, 1),
        wrong_again: list(1, 1),
        wrong_before: list(1, 1),
        wrong_each: more,
        wrong_end: other,
        wrong_first: list(1, 0),
        wrong_forever: "broken: for 5s it asks for a revision that etcd has forgotten",
        wrong_forgotten: "broken: a page was refused, and the list has pages of two moments",
        wrong_increment: list(1, 0),
        wrong_keys: more,
        wrong_largest: list(1, 0),
        wrong_last: list(0, 12),
        wrong_max: list(10, 0),
        wrong_more: "broken: 110 parcels take 11 responses, etcd gave 10",
        wrong_newest: list(9, 9),
        wrong_over: more,
        wrong_partial: "broken: a page was lost: the list has 10 parcels, and there is no error",
        wrong_patient: "broken: the page that the network has lost is still waited for after 5s",
        wrong_prefix: list(100, 0),
        wrong_refused: "broken: a page was refused: the list has 10 parcels, and there is no error",
        wrong_rest: list(1, 1),
        wrong_single: list(10, 0),
        wrong_slash: other,
        wrong_stop: list(100, 0),
        wrong_version: list(110, 0),
        wrong_whole: "broken: 110 parcels take 11 responses, etcd gave 1",
    }
}
