//! The first page, and the links between all pages.

#[test]
fn the_first_page_shows_what_the_chapters_print() -> anyhow::Result<()> {
    testing::follow_from_nothing("README.md", false)
}

#[test]
fn every_link_leads_somewhere() -> anyhow::Result<()> {
    testing::check_links(&testing::root())
}
