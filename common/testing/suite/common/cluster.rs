//! A member fails, and the chapters go on.

use std::time::Instant;

use anyhow::{Result, ensure};
use etcd_client::{Client, GetOptions};
use etcd_server::Cluster;
use testing::{PATIENCE, Program, program_with};

#[derive(Clone, Copy, PartialEq)]
pub enum Member {
    Leader,
    Follower,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    Killed,
    Frozen,
}

#[tokio::test]
async fn chapters_survive_a_killed_leader() -> Result<()> {
    check_that_chapters_go_on(Cluster::start()?, &[], Member::Leader, Fault::Killed).await
}

#[tokio::test]
async fn chapters_survive_a_killed_follower() -> Result<()> {
    check_that_chapters_go_on(Cluster::start()?, &[], Member::Follower, Fault::Killed).await
}

#[tokio::test]
async fn chapters_survive_a_frozen_leader() -> Result<()> {
    check_that_chapters_go_on(Cluster::start()?, &[], Member::Leader, Fault::Frozen).await
}

#[tokio::test]
async fn chapters_survive_a_frozen_follower() -> Result<()> {
    check_that_chapters_go_on(Cluster::start()?, &[], Member::Follower, Fault::Frozen).await
}

/// Checks that all chapters survive a fault of the member that they use. `variables` are the
/// environment of the chapters.
pub async fn check_that_chapters_go_on(
    mut cluster: Cluster,
    variables: &[(&str, String)],
    member: Member,
    fault: Fault,
) -> Result<()> {
    let leader = cluster.leader().await?;
    cluster.members.swap(0, (leader + usize::from(member == Member::Follower)) % 3);
    let endpoints = cluster.endpoints();
    let start = |chapter| {
        let mut command = program_with(&endpoints, chapter)?;
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Program::start(command)
    };
    let mut client = client_of_survivor(&cluster).await?;
    client.put("/my-lock//another", "", None).await?;

    let watch = start("watch")?;
    watch.expect("watching testkey")?;
    let lease = start("lease")?;
    lease.expect("foo is set, for 5 seconds")?;
    // This chapter puts foo on its own lease, so the chapter `lease` waits until that lease ends.
    let keepalive = start("keepalive")?;
    keepalive.expect("ttl: 3, renewed: 5")?;
    let lock = start("lock")?;
    wait_for_two_waiters(&mut client).await?;

    let victim = cluster.members[0].endpoint();
    let (_frozen, cause) = match fault {
        Fault::Killed => {
            cluster.members[0].kill()?;
            (None, "connection refused")
        }
        Fault::Frozen => (Some(cluster.members[0].freeze()?), "no response"),
    };

    for (chapter, shown) in [("put-get", "testkey,testvalues"), ("delete", "deleted 1")] {
        let chapter = start(chapter)?;
        chapter.expect(&format!("going on without {victim}: {cause}"))?;
        chapter.expect(shown)?;
        chapter.expect_success(&[])?;
    }
    client.delete("/my-lock//another", None).await?;
    lock.expect_success(&LOCK)?;
    let renewed = "renewed: 5";
    let end = ["foo is still there", "no more renewals", "foo is gone"];
    expect_success_but_for_ttl(keepalive, &[&[renewed; 3][..], &end].concat())?;
    expect_success_but_for_ttl(lease, &["foo is gone"])?;
    watch.expect("lost the connection; watching again from revision 3")?;
    let change = |change| {
        let line = watch.line()?.unwrap_or_default();
        ensure!(line.starts_with("revision ") && line.ends_with(change), "{line}");
        Ok(())
    };
    change(": PUT \"testkey\" : \"testvalues\"")?;
    change(": DELETE \"testkey\" : \"\"")
}

/// The output of the chapter `lock`.
pub const LOCK: [&str; 4] =
    ["acquired lock for s1", "s2 is waiting", "released lock for s1", "acquired lock for s2"];

/// Waits until a chapter's program succeeds, and checks its output, except for the TTLs: a fault of
/// etcd lengthens them.
pub fn expect_success_but_for_ttl(program: Program, expected: &[&str]) -> Result<()> {
    let (lines, status) = program.end()?;
    let but_for_ttl = |line: &String| match line.strip_prefix("ttl:") {
        Some(rest) => rest.split_once(", ").map(|(_, renewed)| renewed.to_owned()),
        None => Some(line.clone()),
    };
    let shown: Vec<String> = lines.iter().filter_map(but_for_ttl).collect();
    ensure!(status.success() && shown == expected, "{status}: {lines:#?}");
    Ok(())
}

/// Waits until the chapter `lock` is in the queue, behind the key that the test has put there.
async fn wait_for_two_waiters(client: &mut Client) -> Result<()> {
    let queue = GetOptions::new().with_prefix().with_count_only();
    while client.get("/my-lock/", Some(queue.clone())).await?.count() < 2 {}
    Ok(())
}

/// Returns a client of a member that has no fault. A client of two members could log in at one, and
/// then get `invalid auth token` from the other, which does not have the token yet.
async fn client_of_survivor(cluster: &Cluster) -> Result<Client> {
    // A request may wait until the members have elected a new leader.
    let options = cluster.options.clone().with_require_leader(false).with_timeout(PATIENCE);
    Ok(Client::connect([cluster.members[1].endpoint()], Some(options)).await?)
}

#[tokio::test]
async fn chapters_fail_without_a_majority() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let endpoints = cluster.endpoints();
    let start = |chapter| Program::start(program_with(&endpoints, chapter)?);
    let mut client = client_of_survivor(&cluster).await?;
    client.put("/my-lock//another", "", None).await?;
    let lock = start("lock")?;
    wait_for_two_waiters(&mut client).await?;
    let watch = start("watch")?;
    watch.expect("watching testkey")?;
    // These two run for seconds only.
    let lease = start("lease")?;
    lease.expect("foo is set, for 5 seconds")?;
    let keepalive = start("keepalive")?;
    keepalive.expect("ttl: 3, renewed: 5")?;
    // Kill the members that the chapters don't use. The remaining one ends their streams, because
    // it has no majority.
    for member in &mut cluster.members[1..] {
        member.kill()?;
    }

    let begin = Instant::now();
    let (lines, status) = start("put-get")?.end()?;
    ensure!(begin.elapsed() < 2 * common::CONNECT_TIMEOUT, "{:?}", begin.elapsed());
    let [a, b, c] = [0, 1, 2].map(|index| cluster.members[index].endpoint());
    let error = format!(
        "Error: cannot reach etcd at {a}: no leader, because this member cannot reach a majority of \
         its cluster; nor at {b}, {c}: connection refused; check ETCDCTL_ENDPOINTS, or unset that \
         variable to use an etcd on this machine"
    );
    ensure!(status.code() == Some(1) && lines == [error], "{status}: {lines:#?}");

    let unreachable = "cannot reach etcd: ";
    for (chapter, error) in [
        (watch, unreachable),
        (lease, unreachable),
        (keepalive, unreachable),
        (lock, "Error: cannot lock /my-lock/: the session is lost"),
    ] {
        let (lines, status) = chapter.end()?;
        ensure!(status.code() == Some(1), "{status}: {lines:#?}");
        let shown = lines.join(" ");
        ensure!(shown.contains(error), "{shown}");
    }
    Ok(())
}
