//! The pages that belong to no chapter.

#[test]
fn the_first_page_shows_what_the_chapters_print() -> anyhow::Result<()> {
    testing::follow_from_nothing(include_str!("../../../README.md"), false)
}
