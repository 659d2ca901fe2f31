//! The chapter and its exercises, as the README shows them.

use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections("lock")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("lock")
}
