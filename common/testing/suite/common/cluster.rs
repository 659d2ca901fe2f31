//! A member fails, and the chapters go on.

use std::time::{Duration, Instant};

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
async fn the_leader_is_killed() -> Result<()> {
    chapters_go_on(Cluster::start()?, &[], Member::Leader, Fault::Killed).await
}

#[tokio::test]
async fn a_follower_is_killed() -> Result<()> {
    chapters_go_on(Cluster::start()?, &[], Member::Follower, Fault::Killed).await
}

#[tokio::test]
async fn the_leader_is_frozen() -> Result<()> {
    chapters_go_on(Cluster::start()?, &[], Member::Leader, Fault::Frozen).await
}

#[tokio::test]
async fn a_follower_is_frozen() -> Result<()> {
    chapters_go_on(Cluster::start()?, &[], Member::Follower, Fault::Frozen).await
}

/// The fault meets the member that all chapters talk to, in the midst of their work. The variables
/// say as whom, and how.
pub async fn chapters_go_on(
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
    let mut client = survivors(&cluster).await?;
    client.put("/my-lock//another", "", None).await?;

    let watch = start("watch")?;
    watch.expect("watching testkey")?;
    let lease = start("lease")?;
    lease.expect("foo is set, for 5 seconds")?;
    // It puts foo on its own lease; the other chapter goes on waiting until that one ends.
    let keepalive = start("keepalive")?;
    keepalive.expect("ttl: 3, renewed: 5")?;
    let lock = start("lock")?;
    until_two_wait(&mut client).await?;

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
    end_but_for_ttl(keepalive, &[&[renewed; 3][..], &end].concat())?;
    end_but_for_ttl(lease, &["foo is gone"])?;
    watch.expect("lost the connection; watching again from revision 3")?;
    let change = |change| {
        let line = watch.line()?.unwrap_or_default();
        ensure!(line.starts_with("revision ") && line.ends_with(change), "{line}");
        Ok(())
    };
    change(": PUT \"testkey\" : \"testvalues\"")?;
    change(": DELETE \"testkey\" : \"\"")
}

/// What the chapter `lock` prints.
pub const LOCK: [&str; 4] =
    ["acquired lock for s1", "s2 is waiting", "released lock for s1", "acquired lock for s2"];

/// Waits for the end of a chapter's program, which must be a good one. A fault of etcd changes what the
/// program shows of the rest of a TTL, and nothing else.
pub fn end_but_for_ttl(program: Program, expected: &[&str]) -> Result<()> {
    let (lines, status) = program.end()?;
    let but_for_ttl = |line: &String| match line.strip_prefix("ttl:") {
        Some(rest) => rest.split_once(", ").map(|(_, renewed)| renewed.to_owned()),
        None => Some(line.clone()),
    };
    let shown: Vec<String> = lines.iter().filter_map(but_for_ttl).collect();
    ensure!(status.success() && shown == expected, "{status}: {lines:#?}");
    Ok(())
}

/// Waits until the chapter's program is in the queue, behind the key that was put for it.
async fn until_two_wait(client: &mut Client) -> Result<()> {
    let queue = GetOptions::new().with_prefix().with_count_only();
    while client.get("/my-lock/", Some(queue.clone())).await?.count() < 2 {}
    Ok(())
}

/// A client of the members that nothing happens to.
async fn survivors(cluster: &Cluster) -> Result<Client> {
    let endpoints = cluster.members[1..].iter().map(|member| member.endpoint());
    // While a new leader is elected, a request waits.
    let options = cluster.options.clone().with_require_leader(false).with_timeout(PATIENCE);
    Ok(Client::connect(endpoints.collect::<Vec<_>>(), Some(options)).await?)
}

#[tokio::test]
async fn two_of_three_are_dead() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let endpoints = cluster.endpoints();
    let start = |chapter| Program::start(program_with(&endpoints, chapter)?);
    let mut client = survivors(&cluster).await?;
    client.put("/my-lock//another", "", None).await?;
    let watch = start("watch")?;
    watch.expect("watching testkey")?;
    let lease = start("lease")?;
    lease.expect("foo is set, for 5 seconds")?;
    let keepalive = start("keepalive")?;
    keepalive.expect("ttl: 3, renewed: 5")?;
    let lock = start("lock")?;
    until_two_wait(&mut client).await?;
    // Not the one to which they talk: without a majority it ends their streams.
    for member in &mut cluster.members[1..] {
        member.kill()?;
    }

    let begin = Instant::now();
    let (lines, status) = start("put-get")?.end()?;
    ensure!(begin.elapsed() < common::CONNECT_TIMEOUT + Duration::from_secs(2));
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
