use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Checks that each link between the pages below `root` leads to a file, and to a heading in it if it
/// names one. Links to other sites are not followed.
pub fn check_links(root: &Path) -> Result<()> {
    let mut pages = Vec::new();
    find_pages(root, &mut pages)?;
    ensure!(!pages.is_empty(), "there are no pages in {}", root.display());
    for page in &pages {
        let text = fs::read_to_string(page)?;
        for link in links(&text) {
            check(page, &text, link).with_context(|| format!("{}: {link}", page.display()))?;
        }
    }
    Ok(())
}

fn find_pages(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            find_pages(&path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Returns the targets of the links `[text](target)`, also where text is code.
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

fn check(page: &Path, text: &str, link: &str) -> Result<()> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let other;
    let text = if file.is_empty() {
        text
    } else {
        let path = page.with_file_name("").join(file);
        ensure!(path.exists(), "there is no such file");
        if anchor.is_empty() {
            return Ok(());
        }
        other = fs::read_to_string(path)?;
        &other
    };
    let mut headings = prose(text).filter(|line| line.starts_with('#'));
    match headings.any(|heading| anchor_of(heading) == anchor) {
        true => Ok(()),
        false => bail!("there is no such heading"),
    }
}

/// Returns the anchor that GitHub gives to a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}
