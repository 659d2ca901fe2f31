use anyhow::Result;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow(include_str!("../delete/README.md"), include_str!("../delete/src/main.rs"))
}
