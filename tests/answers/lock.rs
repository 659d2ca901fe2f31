use anyhow::Result;

const REFUSED: &str = "held: nothing was lost; of 4 paused writers, etcd refused 2";
const LOST: &str = "broken: 2 additions were written, the number grew by 1 (1 lost)";
const LEADER: &str = "held: there was always another leader, and never two at once";
const TWO: &str = "broken: for a second there were two leaders at once";
const LATE: &str =
    "broken: the first was cut off, and said for [..] s after the loss of its session that it led";
const NO_SECOND: &str = "broken: after the first was cut off, there was no new leader for 6s";
const NO_FIRST: &str =
    "broken: with the first, which was cut off and is back, there was no new leader for 6s";

/// Every answer but `yours` and `mistake`, and its verdict.
const VERDICTS: &[(&str, &str)] = &[
    ("fencing solution", REFUSED),
    ("fencing right_again", REFUSED),
    ("fencing right_both", REFUSED),
    ("fencing right_drop", "held: nothing was lost; of 3 paused writers, etcd refused 2"),
    ("fencing right_less", REFUSED),
    ("fencing right_number", "held: nothing was lost; of 4 paused writers, etcd refused 1"),
    ("fencing right_token", "held: nothing was lost; of 5 paused writers, etcd refused 3"),
    ("fencing wrong_alive", LOST),
    ("fencing wrong_anyway", LOST),
    ("fencing wrong_asks", LOST),
    ("fencing wrong_early", LOST),
    (
        "fencing wrong_error",
        "broken: the response was lost: it says that it has not added, and it has",
    ),
    ("fencing wrong_else", "broken: the first writer says that it has not added, and it has"),
    ("fencing wrong_exists", LOST),
    ("fencing wrong_forget", "broken: a writer that was not paused has not unlocked"),
    ("fencing wrong_lease", "broken: the number is on a lease: when that ends, the number is gone"),
    ("fencing wrong_less", "broken: a writer that was not paused says that it has not added"),
    ("fencing wrong_look", "broken: the write was late, and it has added 2"),
    ("fencing wrong_more", "broken: the response was lost, and it has added 2"),
    ("fencing wrong_patient", "broken: what the network has lost is still waited for after 3s"),
    (
        "fencing wrong_same",
        "broken: the response was lost: it says that it has not added, and it has",
    ),
    ("fencing wrong_sure", "broken: the first writer says that it has added, and it has not"),
    (
        "fencing wrong_text",
        "broken: a writer that was not paused, with a token of two digits, says that it has not added",
    ),
    ("fencing wrong_true", "broken: the write was lost: it says that it has added, and it has not"),
    ("fencing wrong_unlocked", "broken: 5 additions were written, the number grew by 4 (1 lost)"),
    ("fencing wrong_unlock", "broken: the first writer says that it has not added, and it has"),
    (
        "fencing wrong_unsure",
        "broken: a writer that was not paused says that it has not added, and it has",
    ),
    ("fencing wrong_zero", "broken: the number was \"many\", and add has added 1 to that"),
    ("leader solution", LEADER),
    ("leader right_campaign", LEADER),
    ("leader right_lease", LEADER),
    ("leader right_open", LEADER),
    ("leader right_try", LEADER),
    ("leader wrong_asks", TWO),
    (
        "leader wrong_busy",
        "broken: a candidate sends more than 100 requests in a second, while another one leads",
    ),
    ("leader wrong_close", TWO),
    ("leader wrong_drop", TWO),
    ("leader wrong_early", TWO),
    ("leader wrong_grace", LATE),
    ("leader wrong_half", LATE),
    ("leader wrong_leave", NO_FIRST),
    ("leader wrong_often", LATE),
    (
        "leader wrong_once",
        "broken: it has given up: cannot open a session: no answer within 1s (the request \
                 may still have been carried out)",
    ),
    (
        "leader wrong_open",
        "broken: a candidate opens more than 20 sessions in a second, while another one leads",
    ),
    ("leader wrong_own", TWO),
    ("leader wrong_put", TWO),
    ("leader wrong_reads", "broken: with one candidate, there was no new leader for 6s"),
    ("leader wrong_same", NO_FIRST),
    ("leader wrong_second", LATE),
    ("leader wrong_stay", NO_SECOND),
    ("leader wrong_term", "broken: the second has stopped leading, and nothing had happened"),
    ("leader wrong_thread", "broken: for 1.5s it has let nothing else run"),
    ("leader wrong_try", TWO),
    ("leader wrong_ttl", "broken: the leader has a lease of 4 s, and it was to be 2 s"),
    ("leader wrong_turns", "broken: the first has stopped leading, and nothing had happened"),
];

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    testing::exercises(
        include_str!("../../lock/README.md"),
        &[
            include_str!("../../lock/examples/fencing/experiment.rs"),
            include_str!("../../lock/examples/leader/experiment.rs"),
        ],
        VERDICTS,
    )
}
