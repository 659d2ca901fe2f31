//! The chapter and its exercises, as the README shows them.

use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections(include_str!("../../README.md"), include_str!("../../src/main.rs"))
}

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let lost = "broken: 2 additions were written, the number grew by 1 (1 lost)";
    let sure = "broken: the first writer says that it has added, and it has not";
    let two = "broken: for 1.0s there were two leaders at once";
    testing::exercises(
        include_str!("../../README.md"),
        &[
            include_str!("../../examples/fencing/main.rs"),
            include_str!("../../examples/leader/main.rs"),
        ],
        &[
            ("fencing solution", "held: nothing was lost; of 4 paused writers, etcd refused 2"),
            ("fencing wrong_alive", lost),
            ("fencing wrong_asks", lost),
            ("fencing wrong_early", lost),
            ("fencing wrong_sure", sure),
            ("leader solution", "held: there was always another leader, and never two at once"),
            ("leader wrong_asks", two),
            (
                "leader wrong_leave",
                "broken: with one that was cut off and is back, there was no new leader for 6s",
            ),
            ("leader wrong_put", two),
            (
                "leader wrong_once",
                "broken: it has given up: cannot open a session: no answer within 1s (the request \
                 may still have been carried out)",
            ),
            ("leader wrong_stay", "broken: after its death, there was no new leader for 6s"),
        ],
    )
}

#[test]
#[ignore = "yours.rs is for students to edit"]
fn untouched_exercises_print_what_the_readme_shows() -> Result<()> {
    testing::follow_untouched(include_str!("../../README.md"))
}
