//! The page of this crate, on a machine where no etcd runs yet.

const README: &str = include_str!("../../README.md");

#[test]
fn the_chapters_print_what_the_readme_shows() -> anyhow::Result<()> {
    testing::follow_from_nothing(README, false)
}

#[cfg(feature = "tls-tests")]
#[test]
fn the_chapters_print_what_the_readme_shows_with_tls() -> anyhow::Result<()> {
    testing::follow_from_nothing(README, true)
}
