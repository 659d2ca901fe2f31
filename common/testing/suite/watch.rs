use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, ConnectOptions};
use etcd_server::{Proxy, Server};
use testing::{PATIENCE, Program, program_at, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "../../answers/reload/solution.rs"]
mod solution;

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections("watch")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("watch")
}

async fn client(server: &Server) -> Result<Client> {
    // With this limit, a put fails while the server is down. Otherwise the client would repeat it.
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
    Ok(Client::connect([server.address().to_string()], Some(options)).await?)
}

#[test]
fn refuses_an_empty_key() -> Result<()> {
    let server = Server::start()?;
    let mut watch = program_at(&server, "watch")?;
    watch.arg("");
    let watch = Program::start(watch)?;
    let expected = "Error: cannot watch an empty key: to etcd, that is one zero byte";
    watch.expect(expected)?;
    ensure!(watch.end()?.1.code() == Some(1));
    Ok(())
}

#[tokio::test]
async fn shows_bytes_that_are_not_utf8_escaped() -> Result<()> {
    let server = Server::start()?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;
    client(&server).await?.put("testkey", b"caf\xc3\xa9 \xff\x00\"", None).await?;
    watch.expect(r#"revision 2: PUT "testkey" : "café \xff\0\"""#)
}

#[tokio::test]
async fn shows_every_acknowledged_put_once_over_two_crashes() -> Result<()> {
    let mut server = Server::start()?;
    let mut client = client(&server).await?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;

    // Every value is put once. If no response came, etcd may have it or not.
    let mut acknowledged = Vec::new();
    for value in 0..150 {
        if value == 50 || value == 100 {
            server.kill()?;
        }
        if value == 55 || value == 105 {
            server.restart()?;
        }
        if client.put("testkey", value.to_string(), None).await.is_ok() {
            acknowledged.push(value);
        }
    }
    ensure!(acknowledged.len() > 100, "too few: {acknowledged:?}");
    client.put("testkey", "last", None).await?;

    let (mut shown, mut resumed) = (Vec::new(), 0);
    loop {
        let line = watch.line()?.context("it ended")?;
        match line.split_once(": PUT \"testkey\" : ") {
            Some((_, "\"last\"")) => break,
            Some((_, value)) => shown.push(value.trim_matches('"').parse::<i32>()?),
            None => resumed += i32::from(line.starts_with("lost the connection; ")),
        }
    }
    ensure!(resumed == 2, "the connection was lost {resumed} times");
    ensure!(shown.is_sorted_by(|a, b| a < b), "doubled or out of order: {shown:?}");
    ensure!(acknowledged.iter().all(|value| shown.contains(value)), "missing: {shown:?}");
    Ok(())
}

/// Puts `count` values of 1 MB. etcd-client accepts 4 MiB in one response.
async fn put_large(server: &Server, count: usize) -> Result<()> {
    let (mut client, value) = (client(server).await?, "x".repeat(1_000_000));
    for _ in 0..count {
        client.put("testkey", &*value, None).await?;
    }
    Ok(())
}

#[tokio::test]
async fn catches_up_with_more_than_a_response_can_hold() -> Result<()> {
    let mut server = Server::start()?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;
    signal("STOP", watch.id())?;
    server.restart()?;
    put_large(&server, 10).await?;
    signal("CONT", watch.id())?;

    watch.expect("lost the connection; watching again from revision 2")?;
    for revision in 2..12 {
        let line = watch.line()?.context("it has ended")?;
        let expected = format!("revision {revision}: PUT \"testkey\" : \"xxx");
        ensure!(
            line.starts_with(&expected) && line.len() > 1_000_000,
            "{}",
            &line[..line.len().min(80)]
        );
    }
    Ok(())
}

#[tokio::test]
async fn ends_when_an_event_exceeds_a_response() -> Result<()> {
    let server = Server::start_with(&["--max-request-bytes=10000000"])?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;
    client(&server).await?.put("testkey", "x".repeat(5_000_000), None).await?;
    let line = watch.line()?.unwrap_or_default();
    ensure!(line.starts_with("Error: Error, decoded message length too large: "), "{line}");
    let (lines, status) = watch.end()?;
    ensure!(status.code() == Some(1) && lines.is_empty(), "{status}: {lines:#?}");
    Ok(())
}

#[tokio::test]
async fn the_solution_of_reload_catches_up_with_100_mb() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::to(server.address())?;
    client(&server).await?.put("testkey", "first", None).await?;

    let (applied, mut values) = mpsc::unbounded_channel();
    let mut client = common::connect_to([proxy.address().to_string()]).await?;
    let follow = solution::follow(&mut client, "testkey", |value| {
        let _ = applied.send(value.len()); // the test may have failed
    });
    let backlog = async {
        ensure!(values.recv().await == Some("first".len()));
        proxy.cut();
        put_large(&server, 100).await?;
        proxy.disconnect();
        for nth in 0..100 {
            ensure!(values.recv().await == Some(1_000_000), "{nth}");
        }
        Ok(())
    };
    tokio::select! {
        ended = follow => ended.and_then(|()| bail!("it has ended")),
        caught_up = timeout(PATIENCE, backlog) => caught_up?,
    }
}

#[tokio::test]
async fn ends_when_what_it_missed_is_compacted() -> Result<()> {
    let mut server = Server::start()?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;
    signal("STOP", watch.id())?;
    server.restart()?;
    let mut client = client(&server).await?;
    client.put("testkey", "missed", None).await?;
    let put = client.put("testkey", "kept", None).await?;
    let revision = put.header().context("no header")?.revision();
    client.compact(revision, None).await?;
    signal("CONT", watch.id())?;

    let (lines, status) = watch.end()?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(lines.len() == 2 && lines[0].starts_with("lost the connection; "), "{lines:#?}");
    let error = format!("Error: revision 2 is compacted: history begins at {revision}");
    ensure!(lines[1] == error, "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn ends_when_it_meets_another_store() -> Result<()> {
    let mut server = Server::start()?;
    client(&server).await?.put("testkey", "old", None).await?;
    let watch = Program::start(program_at(&server, "watch")?)?;
    watch.expect("watching testkey")?;
    server.kill()?;
    fs::remove_dir_all(server.data())?;
    server.restart()?;

    let (lines, status) = watch.end()?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(lines.len() == 2 && lines[0].starts_with("lost the connection; "), "{lines:#?}");
    let expected =
        "Error: cannot watch from revision 3: this is another store, which ends at revision 1";
    ensure!(lines[1] == expected, "{lines:#?}");
    Ok(())
}
