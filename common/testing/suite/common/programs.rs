//! Rules for all programs: the six chapters, all examples and the cluster.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, GetOptions};
use etcd_server::Server;
use testing::{program_at, program_with, root};

/// Returns the name of each program, and its source.
fn programs() -> Result<Vec<(String, PathBuf)>> {
    let root = root();
    let cluster = root.join("common/etcd-server/src/main.rs");
    let mut programs = vec![("etcd-server".to_owned(), cluster)];
    for folder in fs::read_dir(root)? {
        let folder = folder?.path();
        let source = folder.join("src/main.rs");
        if !source.exists() {
            continue;
        }
        let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        programs.push((stem(&folder).context("no name")?, source));
        for example in fs::read_dir(folder.join("examples")).into_iter().flatten() {
            let path = example?.path();
            let name = format!("examples/{}", stem(&path).context("no name")?);
            programs.push((name, if path.is_dir() { path.join("main.rs") } else { path }));
        }
    }
    ensure!(programs.len() > 20, "{programs:?}");
    Ok(programs)
}

/// Whether an example is an exercise.
fn is_exercise(source: &Path) -> bool {
    source.with_file_name("yours.rs").exists()
}

#[tokio::test]
async fn programs_fail_if_nobody_reads_their_output() -> Result<()> {
    let server = Server::start()?;
    // One after the other, because they use the same keys.
    for (name, source) in programs()? {
        let mut command = program_at(&server, &name)?;
        if is_exercise(&source) {
            command.arg("hint");
        }
        let (reader, writer) = io::pipe()?;
        drop(reader); // so that writing fails, as after `| head -1`
        let output = command.stdout(writer).stderr(Stdio::piped()).output()?;
        let errors = String::from_utf8(output.stderr)?;
        let expected = if is_exercise(&source) { 2 } else { 1 };
        let is_right = output.status.code() == Some(expected) && !errors.contains("panicked");
        ensure!(is_right, "{name}: {}: {errors}", output.status);
    }
    // The failed programs must have given back their locks, which would stay for a TTL.
    let mut client = Client::connect([server.endpoint()], None).await?;
    let below = GetOptions::new().with_prefix();
    ensure!(client.get("/my-lock/", Some(below)).await?.count() == 0);
    Ok(())
}

/// Runs a program that isn't an exercise, and that must not connect to anything. Returns its
/// status, stdout and stderr.
fn run(name: &str, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = program_with("127.0.0.1:1", name)?.args(arguments).output()?;
    let text = String::from_utf8;
    Ok((output.status.code(), text(output.stdout)?, text(output.stderr)?))
}

#[test]
fn programs_explain_themselves() -> Result<()> {
    for (name, source) in programs()? {
        if is_exercise(&source) {
            continue; // its `--help` describes the exercise
        }
        let source = fs::read_to_string(source)?;
        let top = source.lines().map_while(|line| line.strip_prefix("//!"));
        let top: Vec<_> = top.map(str::trim).filter(|line| !line.starts_with("```")).collect();
        let (status, shown, errors) = run(&name, &["--help"])?;
        let is_right = status == Some(0) && shown.trim() == top.join("\n") && errors.is_empty();
        ensure!(is_right, "{name}: {status:?}: {shown}{errors}");

        let command = top.iter().find(|line| line.starts_with("cargo run")).context("no usage")?;
        let command = command.split("  ").next().unwrap_or_default();
        for arguments in [&["one", "two"][..], &["--none"]] {
            let (status, shown, errors) = run(&name, arguments)?;
            let is_right = status == Some(2) && shown.is_empty() && errors.lines().count() == 1;
            ensure!(is_right, "{name} {arguments:?}: {status:?}: {shown}{errors}");
            let usage = format!("; usage: {command}");
            ensure!(
                errors.starts_with("Error: cannot use ") && errors.contains(&usage),
                "{errors}"
            );
        }
    }
    let (_, _, errors) = run("put-get", &["one", "two"])?;
    let usage = "usage: cargo run -p put-get -- [VALUE | --get]";
    ensure!(errors == format!("Error: cannot use \"two\"; {usage}\n"), "{errors}");
    let (_, _, errors) = run("lock", &["now"])?;
    ensure!(errors == "Error: cannot use \"now\"; usage: cargo run -p lock\n", "{errors}");
    Ok(())
}
