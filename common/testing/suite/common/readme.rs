//! The page of the crate `common`, on a machine where no etcd runs yet.

use std::fs;

use anyhow::{Context, Result, ensure};

const README: &str = "common/README.md";

#[test]
fn the_bundled_etcd_has_the_pages_commit() -> Result<()> {
    let page = fs::read_to_string(testing::root().join(README))?;
    let output = testing::command(etcd_bin_vendored::etcd_bin_path()?).arg("--version").output()?;
    let shown = String::from_utf8(output.stdout)?;
    let field = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name:?} in {shown}"))
    };
    let (version, commit) = (field("etcd Version: ")?, field("Git SHA: ")?);
    let line = page.lines().find(|line| line.contains("/etcd/tree/v")).context("no commit")?;
    ensure!(line.contains(&format!("/tree/v{version})")), "{version}: {line}");
    ensure!(line.contains(&format!("`{commit}")), "{commit}: {line}");
    Ok(())
}

#[test]
fn the_page_shows_what_the_programs_print() -> Result<()> {
    testing::follow_from_nothing(README, false)
}

#[cfg(feature = "tls")]
#[test]
fn the_page_shows_what_they_print_with_tls() -> Result<()> {
    testing::follow_from_nothing(README, true)
}
