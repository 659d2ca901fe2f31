//! The chapter and its exercises, as the README shows them.

use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections(include_str!("../../README.md"), include_str!("../../src/main.rs"))
}

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let refused = "held: nothing was lost; of 4 paused writers, etcd refused 2";
    let lost = "broken: 2 additions were written, the number grew by 1 (1 lost)";
    let two = "broken: for 1.0s there were two leaders at once";
    let leader = "held: there was always another leader, and never two at once";
    let no_leader = |when| format!("broken: {when}, there was no new leader for 6s");
    testing::exercises(
        include_str!("../../README.md"),
        &[
            include_str!("../../examples/fencing/experiment.rs"),
            include_str!("../../examples/leader/experiment.rs"),
        ],
        &[
            ("fencing solution", refused),
            ("fencing right_both", refused),
            ("fencing right_number", "held: nothing was lost; of 4 paused writers, etcd refused 1"),
            ("fencing wrong_alive", lost),
            ("fencing wrong_anyway", lost),
            ("fencing wrong_asks", lost),
            ("fencing wrong_early", lost),
            (
                "fencing wrong_error",
                "broken: a writer that got no response says that it has not added, and it has",
            ),
            ("fencing wrong_forget", "broken: a writer that was not paused has not unlocked"),
            (
                "fencing wrong_lease",
                "broken: the number is on a lease: when that ends, the number is gone",
            ),
            (
                "fencing wrong_patient",
                "broken: the response that was lost is still waited for after 3s",
            ),
            (
                "fencing wrong_sure",
                "broken: the first writer says that it has added, and it has not",
            ),
            (
                "fencing wrong_unlocked",
                "broken: 5 additions were written, the number grew by 4 (1 lost)",
            ),
            (
                "fencing wrong_unsure",
                "broken: a writer that was not paused says that it has not added, and it has",
            ),
            ("leader solution", leader),
            ("leader right_campaign", leader),
            ("leader right_try", leader),
            ("leader wrong_asks", two),
            ("leader wrong_close", two),
            ("leader wrong_drop", two),
            ("leader wrong_early", two),
            ("leader wrong_leave", &no_leader("with one that was cut off and is back")),
            (
                "leader wrong_once",
                "broken: it has given up: cannot open a session: no answer within 1s (the request \
                 may still have been carried out)",
            ),
            ("leader wrong_put", two),
            ("leader wrong_same", &no_leader("with one that was cut off and is back")),
            (
                "leader wrong_second",
                "broken: a leader that was cut off said that it led for longer than a TTL",
            ),
            ("leader wrong_stay", &no_leader("after the leader was cut off")),
            ("leader wrong_ttl", &no_leader("after the leader was cut off")),
            ("leader wrong_turns", "broken: it has stopped leading, and nothing had happened"),
        ],
    )
}

#[test]
#[ignore = "yours.rs is for students to edit"]
fn untouched_exercises_print_what_the_readme_shows() -> Result<()> {
    testing::follow_untouched(include_str!("../../README.md"))
}
