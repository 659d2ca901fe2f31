//! The page of this crate, on a machine where no etcd runs yet.

use anyhow::Result;

const README: &str = "common/README.md";

#[test]
fn the_page_of_this_crate_shows_what_the_chapters_print() -> Result<()> {
    testing::follow_from_nothing(README, false)
}

#[cfg(feature = "tls")]
#[test]
fn the_page_of_this_crate_shows_what_the_chapters_print_with_tls() -> Result<()> {
    testing::follow_from_nothing(README, true)
}
