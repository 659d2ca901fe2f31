use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow(include_str!("../README.md"), include_str!("../src/main.rs"))
}

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let taken = "broken: what was not done, or no job at all, is gone: jobs-old/1, jobs2/1";
    testing::exercises(
        include_str!("../README.md"),
        &[include_str!("../examples/tidy/main.rs")],
        &[
            ("tidy solution", "held: 10 jobs were started again and are there, 14 others are gone"),
            ("tidy wrong_look", "broken: newer values were destroyed: jobs/2"),
            ("tidy wrong_prefix", taken),
        ],
    )
}

#[test]
#[ignore = "yours.rs is for students to edit"]
fn untouched_exercises_print_what_the_readme_shows() -> Result<()> {
    testing::follow_untouched(include_str!("../README.md"))
}
