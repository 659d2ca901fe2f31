//! The page about a project of one's own.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etcd_server::{Server, target_folder};
use testing::root;

/// Types the page in an empty folder, with this workspace as the clone. Only the address differs:
/// the port of the page is the reader's.
#[test]
#[ignore = "builds etcd-client a second time"]
fn a_project_of_ones_own_runs_as_its_page_shows() -> Result<()> {
    let page = fs::read_to_string(root().join("YOUR-PROJECT.md"))?;
    let etcd = Server::start()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join("own").join(name);
    cargo(folder.path(), &["new", "own"])?;
    let manifest = fs::read_to_string(path("Cargo.toml"))?;
    let clone = root().display().to_string();
    let added = block(&page, "toml")?.replace("../etcd-by-example", &clone);
    fs::write(path("Cargo.toml"), manifest.replace("[dependencies]\n", &added))?;
    let program = block(&page, "rust")?;
    fs::write(path("src/main.rs"), program.replace("127.0.0.1:2379", &etcd.address().to_string()))?;
    // The versions that are there.
    fs::copy(root().join("Cargo.lock"), path("Cargo.lock"))?;

    let shown = format!("$ cargo run\n{}", cargo(&path(""), &["run", "--quiet"])?);
    ensure!(block(&page, "text")? == shown, "{shown}");
    let tree = cargo(&path(""), &["tree", "--edges", "normal,build"])?;
    ensure!(tree.contains("lock v") && !tree.contains("etcd-bin"), "{tree}");
    Ok(())
}

/// Returns the text of the page's only block of this language.
fn block<'a>(page: &'a str, language: &str) -> Result<&'a str> {
    let begin = format!("```{language}\n");
    let (_, rest) = page.split_once(&begin).with_context(|| format!("no block of {language}"))?;
    ensure!(!rest.contains(&begin), "more than one block of {language}");
    Ok(rest.split_once("```\n").context("the block has no end")?.0)
}

/// Runs cargo in a folder, but builds into the folder of this test and as this test was built, so
/// that most crates are there already. Returns what it prints on stdout.
fn cargo(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    let target = target_folder().context("this test is in no target folder")?;
    let cargo = cargo.args(arguments).arg("--offline").current_dir(folder);
    // As in the profile of this workspace.
    let debug = [("", "line-tables-only"), ("BUILD_OVERRIDE_", "false")];
    cargo.envs(debug.map(|(of, debug)| (format!("CARGO_PROFILE_DEV_{of}DEBUG"), debug)));
    let output = cargo.env("CARGO_TARGET_DIR", target).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
