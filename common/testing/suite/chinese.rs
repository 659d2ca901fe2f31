//! README.zh.md, the tutorial in Chinese: what it shows and quotes, and what may be out of date.
//!
//! A comment on that page, such as `<!-- put-get/README.md 1a2b3c4d -->`, names the English page
//! that the section below it follows, or a part of one, such as `README.md#start`, and its hash at
//! that time.

use std::env;
use std::fs;
use std::io::{Write, stderr};
use std::path::Path;

use anyhow::{Context, Result};
use testing::{check_quotes, root};

const PAGE: &str = "README.zh.md";

/// The beginning of the line that tells readers that a section may be out of date.
const OUTDATED: &str = "> **本节可能已过时**";

#[test]
fn prints_what_the_page_shows() -> Result<()> {
    testing::follow_from_nothing(PAGE, false)
}

#[test]
fn quotes_the_programs() -> Result<()> {
    for section in read(PAGE)?.split("\n## ").filter(|section| section.contains("```")) {
        let (page, _) = section.lines().find_map(source).context("a section names no page")?;
        let program = Path::new(page).with_file_name("src/main.rs");
        check_quotes(section, "rust", &read(program).unwrap_or_default())?;
        // The lab's own test proves what the lab's page shows.
        check_quotes(section, "text", &read(page).unwrap_or_default())?;
    }
    Ok(())
}

/// Prints which English pages have changed, but doesn't fail: their authors need not know Chinese.
/// With `UPDATE_ZH`, the Chinese page shows it as well, and a comment without a hash gets one.
#[test]
fn names_what_may_be_out_of_date() -> Result<()> {
    let page = read(PAGE)?;
    let mut updated = String::new();
    for line in page.lines().filter(|line| !line.starts_with(OUTDATED)) {
        let Some((name, then)) = source(line) else {
            updated += &format!("{line}\n");
            continue;
        };
        let now = hash(&words(name)?);
        if then.is_empty() || then == now {
            updated += &format!("<!-- {name} {now} -->\n");
        } else {
            // Not to the part, which may be gone.
            let (page, _) = name.split_once('#').unwrap_or((name, ""));
            updated += &format!("{line}\n{OUTDATED}：[英文原文]({page})后来有改动。\n");
            // A passing test hides what `eprintln` prints.
            writeln!(stderr(), "{PAGE} may be out of date: {name} has changed")?;
        }
    }
    if updated != page && env::var_os("UPDATE_ZH").is_some() {
        fs::write(root().join(PAGE), updated)?;
    } else if updated != page {
        writeln!(
            stderr(),
            "to show that on the page: UPDATE_ZH=1 cargo test -p suite out_of_date"
        )?;
    }
    Ok(())
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns what a comment names, and the hash in it, which may be empty.
fn source(line: &str) -> Option<(&str, &str)> {
    let comment = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    Some(comment.split_once(' ').unwrap_or((comment, "")))
}

/// Returns the text of a page, or of a part of it, with single spaces, because wrapping lines anew
/// isn't a change. A part that no longer exists has no text.
fn words(name: &str) -> Result<String> {
    let (page, anchor) = name.split_once('#').unwrap_or((name, ""));
    let page = read(page)?;
    let is_named = |section: &&str| {
        let heading = section.lines().next().unwrap_or_default();
        heading.to_lowercase().replace(' ', "-") == anchor
    };
    let text = match anchor {
        "" => &*page,
        _ => page.split("\n## ").find(is_named).unwrap_or_default(),
    };
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns the FNV-1a hash, which stays the same with each version of Rust.
fn hash(text: &str) -> String {
    let add = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    format!("{:08x}", text.bytes().fold(0x811c_9dc5, add))
}
