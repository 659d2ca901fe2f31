//! The README of the workspace, on a machine where no etcd runs yet.

#[test]
fn the_chapters_print_what_the_readme_shows() -> anyhow::Result<()> {
    testing::follow_from_nothing(include_str!("../../../../README.md"))
}
