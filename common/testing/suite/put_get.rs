use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow("put-get")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("put-get")
}
