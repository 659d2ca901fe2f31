use anyhow::Result;

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let right = "held: nothing was lost, and nothing was added twice";
    let mine = "broken: the request was lost, and another program added 1: add says that it has added 1, \
                and it has not";
    let lost = "broken: 8 clients added 400, the counter says 50 (350 updates lost)";
    let overtaken = "broken: another program added 10 and you added 1, the counter says 1";
    let in_vain = "broken: 20 requests have not added 1, and nobody else has written the counter, only \
                   other keys";
    let nonsense = "no verdict: there is no answer called \"nonsense\"; there are: yours, solution, \
                    hint";
    let list = |missing, twice| {
        format!(
            "broken: 110 parcels were there at every moment, {missing} of them are missing in the \
             list and {twice} are in it more than once"
        )
    };
    let all = "held: all 110 parcels, each once, as they lay at one moment";
    let other = "broken: the list has \"no parcel\", which lies on no shelf";
    let more = "broken: 110 parcels take 11 responses, etcd gave 15, and you ask for more";
    testing::exercises(
        include_str!("../../put-get/README.md"),
        &[
            include_str!("../../put-get/examples/counter/experiment.rs"),
            include_str!("../../put-get/examples/pages/experiment.rs"),
        ],
        &[
            ("counter solution", right),
            ("counter right_else", right),
            ("counter right_since", right),
            ("counter right_value", right),
            (
                "counter wrong_again",
                "broken: the response was lost: you added 1, and the counter says 2",
            ),
            ("counter wrong_else", in_vain),
            ("counter wrong_first", lost),
            ("counter wrong_later", lost),
            ("counter wrong_lock", overtaken),
            (
                "counter wrong_look",
                "broken: the request was late: you added 1, and the counter says 2",
            ),
            (
                "counter wrong_lost",
                "broken: the connection was lost: you added 1, and the counter says 2",
            ),
            ("counter wrong_mine", mine),
            ("counter wrong_mutex", overtaken),
            (
                "counter wrong_once",
                "broken: 8 clients added 400, the counter says 50 (350 were never put)",
            ),
            (
                "counter wrong_patient",
                "broken: what the network has lost is still waited for after 5s",
            ),
            ("counter wrong_refused", "broken: it has given up: another client was faster"),
            ("counter wrong_same", mine),
            (
                "counter wrong_silent",
                "broken: the request was lost: add says that it has added 1, and it has not",
            ),
            ("counter wrong_spawn", "broken: add has returned, and etcd responds to it later"),
            ("counter wrong_store", in_vain),
            (
                "counter wrong_ten",
                "broken: another program added 200 and you added 1, the counter says 200",
            ),
            (
                "counter wrong_three",
                "broken: 8 clients added 400, the counter says [..] were never put)",
            ),
            (
                "counter wrong_twice",
                "broken: 8 clients added 400, the counter says [..] updates lost)",
            ),
            (
                "counter wrong_unread",
                "broken: the first request was lost: add says that it has added 1, and it has not",
            ),
            ("counter wrong_version", in_vain),
            (
                "counter wrong_zero",
                "broken: the counter said \"many\", and add has added 1 to that",
            ),
            ("counter nonsense", nonsense),
            ("pages solution", all),
            ("pages right_back", all),
            ("pages right_first", all),
            ("pages right_full", all),
            ("pages right_over", all),
            ("pages right_retry", all),
            ("pages wrong_after", &list(1, 1)),
            ("pages wrong_again", &list(1, 1)),
            ("pages wrong_before", &list(1, 1)),
            ("pages wrong_each", more),
            ("pages wrong_end", other),
            ("pages wrong_first", &list(1, 0)),
            (
                "pages wrong_forever",
                "broken: for 5s it asks for a revision that etcd has forgotten",
            ),
            (
                "pages wrong_forgotten",
                "broken: a page was refused, and the list has pages of two moments",
            ),
            ("pages wrong_increment", &list(1, 0)),
            ("pages wrong_keys", more),
            ("pages wrong_largest", &list(1, 0)),
            ("pages wrong_last", &list(0, 12)),
            ("pages wrong_max", &list(10, 0)),
            ("pages wrong_more", "broken: 110 parcels take 11 responses, etcd gave 10"),
            ("pages wrong_newest", &list(9, 9)),
            ("pages wrong_over", more),
            (
                "pages wrong_partial",
                "broken: a page was lost: the list has 10 parcels, and there is no error",
            ),
            (
                "pages wrong_patient",
                "broken: the page that the network has lost is still waited for after 5s",
            ),
            ("pages wrong_prefix", &list(100, 0)),
            (
                "pages wrong_refused",
                "broken: a page was refused: the list has 10 parcels, and there is no error",
            ),
            ("pages wrong_rest", &list(1, 1)),
            ("pages wrong_single", &list(10, 0)),
            ("pages wrong_slash", other),
            ("pages wrong_stop", &list(100, 0)),
            ("pages wrong_version", &list(110, 0)),
            ("pages wrong_whole", "broken: 110 parcels take 11 responses, etcd gave 1"),
        ],
    )
}
