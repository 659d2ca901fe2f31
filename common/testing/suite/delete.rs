use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow("delete")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("delete")
}
