//! The links between all pages.

use std::path::Path;

#[test]
fn every_link_leads_somewhere() -> anyhow::Result<()> {
    testing::check_links(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}
