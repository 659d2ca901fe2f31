//! The chapter and its exercises, as the README shows them.

use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections(
        include_str!("../../lock/README.md"),
        include_str!("../../lock/src/main.rs"),
    )
}
