use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Follows all links from the first page of a workspace on. Each must lead to a file, and to a
/// heading in it if it names one. Links to other sites are not followed, but a link to the
/// documentation of etcd-client must name the version in `Cargo.lock`.
pub fn check_links(root: &Path) -> Result<()> {
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    let version = lock.split("name = \"etcd-client\"\nversion = \"").nth(1);
    let version = version.and_then(|rest| rest.split('"').next()).context("no etcd-client")?;
    let mut pages = vec![root.join("README.md")];
    let mut next = 0;
    while let Some(page) = pages.get(next).cloned() {
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        for link in links(&text) {
            let found = check(&page, &text, link);
            let path = found.with_context(|| format!("{}: {link}", page.display()))?;
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.extend((!pages.contains(&path)).then_some(path));
            }
        }
        for link in text.split("//docs.rs/etcd-client/").skip(1) {
            ensure!(link.starts_with(&format!("{version}/")), "{}: {link:.40}", page.display());
        }
        next += 1;
    }
    ensure!(next > 1, "the first page has no links");
    Ok(())
}

/// Returns the targets of the links `[text](target)` outside of code blocks.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = prose(page).flat_map(|line| line.split("](").skip(1));
    targets.filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"))
}

/// Returns the lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Returns the file that a link of a page leads to. Fails if there is no such file or heading.
fn check(page: &Path, text: &str, link: &str) -> Result<PathBuf> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.with_file_name("").join(file) };
    let path = path.canonicalize().context("there is no such file")?;
    if !anchor.is_empty() {
        let other = if file.is_empty() { text } else { &fs::read_to_string(&path)? };
        let mut headings = prose(other).filter(|line| line.starts_with('#'));
        let is_there = headings.any(|heading| anchor_of(heading) == anchor);
        ensure!(is_there, "there is no such heading");
    }
    Ok(path)
}

/// Returns the anchor that GitHub gives to a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}
