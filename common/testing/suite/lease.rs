use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;
use testing::{Program, program_at};

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections("lease")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("lease")
}

#[tokio::test]
async fn notices_a_put_without_a_lease() -> Result<()> {
    let server = Server::start()?;
    let lease = Program::start(program_at(&server, "lease")?)?;
    lease.expect("foo is set, for 5 seconds")?;
    let mut client = Client::connect([server.address().to_string()], None).await?;
    client.put("foo", "mine", None).await?;

    let (lines, status) = lease.end()?;
    ensure!(status.code() == Some(1), "{status}");
    // The put comes before the program has begun to watch, or after.
    let either = [
        "    the key foo is not on a lease, so etcd will not delete it",
        "    the key foo was put without a lease, so etcd will not delete it",
    ];
    ensure!(lines.last().is_some_and(|line| either.contains(&&**line)), "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn the_shortest_lease_is_two_seconds() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.address().to_string()], None).await?;
    ensure!(client.lease_grant(1, None).await?.ttl() == 2);
    Ok(())
}
