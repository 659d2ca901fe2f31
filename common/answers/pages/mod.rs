//! The answers to the exercise `pages`, and the verdict on each.

mod edits;
#[path = "../../../put-get/examples/pages/experiment.rs"]
mod experiment;
mod mistake;
mod right_back;
mod solution;
mod wrong_keys_first;

use edits::*;

use crate::Answer;

pub(crate) fn answers() -> Vec<Answer> {
    let list = |missing, repeated| {
        format!(
            "broken: 110 parcels were always there, but the list misses {missing} and repeats {repeated}"
        )
    };
    let held = "held: all 110 parcels, each once, as they lay at one moment";
    let other = "broken: the list has \"no parcel\", which lies on no shelf";
    let too_many = "broken: 110 parcels fit into 11 responses, but read took more than 14";
    let too_few =
        |count| format!("broken: 110 parcels take 11 responses of 10, but read took {count}");
    let part = |page| {
        format!("broken: a page was {page}, and read returned 10 of 110 parcels without an error")
    };
    answers! {
        [read(client, shelves, limit)];
        solution: held,
        mistake: list(10, 10),
        right_back: held,
        right_first: held,
        right_full: held,
        right_over: held,
        right_retry: held,
        wrong_newest_key: list(1, 0),
        wrong_start_over: too_many,
        wrong_refusal_is_end: part("refused"),
        wrong_all_at_once: too_few(1),
        wrong_dedup: list(10, 0),
        wrong_each_header: list(9, 9),
        wrong_end: other,
        wrong_error_is_end: part("lost"),
        wrong_first_key: list(1, 0),
        wrong_forgotten: "broken: a page was refused, and the list mixes pages of two moments",
        wrong_keys_first: too_many,
        wrong_larger_pages: too_few(10),
        wrong_last_key: list(0, 12),
        wrong_max_revision: list(10, 0),
        wrong_minus_one: list(1, 1),
        wrong_newest_again: list(1, 1),
        wrong_newest_rest: list(1, 1),
        wrong_next_byte: list(1, 0),
        wrong_no_limit: "broken: after 5s, read still waits for a page that was lost",
        wrong_no_slash: other,
        wrong_one_page: list(100, 0),
        wrong_pages_twice: too_many,
        wrong_plus_one: list(1, 1),
        wrong_prefix: list(100, 0),
        wrong_retries_refusal: "broken: etcd forgot a revision, and 5s later read had not returned",
        wrong_smaller_pages: too_many,
        wrong_version: list(110, 0),
    }
}
