//! The first page, and the links between all pages.

use std::path::Path;

#[test]
fn the_first_page_shows_what_the_chapters_print() -> anyhow::Result<()> {
    testing::follow_from_nothing(include_str!("../README.md"), false)
}

#[test]
fn every_link_leads_somewhere() -> anyhow::Result<()> {
    testing::check_links(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}
