use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use etcd_server::{Proxy, Server};
use testing::{Program, program_with};

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow_sections("keepalive")
}

#[test]
fn the_exercises_print_what_the_readme_shows() -> Result<()> {
    crate::follow_exercises("keepalive")
}

#[tokio::test]
async fn ends_when_the_lease_is_lost() -> Result<()> {
    let server = Server::start()?;
    // etcd refuses the renewal on the old stream, or on a new one if the old one was lost, too.
    for loses_stream in [false, true] {
        let network = Proxy::to(server.address())?;
        let keepalive = Program::start(program_with(&network.address().to_string(), "keepalive")?)?;
        keepalive.expect("ttl: 3, renewed: 5")?;
        let mut client = Client::connect([server.endpoint()], None).await?;
        let foo = client.get("foo", None).await?;
        client.lease_revoke(foo.kvs().first().context("no foo")?.lease()).await?;
        if loses_stream {
            network.disconnect();
        }

        let (lines, status) = keepalive.end()?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(lines == ["Error: the lease is lost"], "{lines:#?}");
    }
    Ok(())
}
