//! A request goes to another member only if it certainly was not sent.

use anyhow::{Context, Result, ensure};
use common::{REQUEST_TIMEOUT, connect_to, is_refusal, within};
use etcd_client::{Client, MemberAddOptions};
use etcd_server::{Cluster, Proxy, Server, add_users, free_address};
use lock::{Mutex, Session};
use testing::{PATIENCE, Program, program_with};
use tokio::time::timeout;

/// Returns how many times the key was put.
async fn version(client: &mut Client) -> Result<i64> {
    let found = client.get("key", None).await?;
    Ok(found.kvs().first().context("no key")?.version())
}

#[tokio::test]
async fn an_unsent_put_is_retried_elsewhere() -> Result<()> {
    let etcd = Server::start()?;
    let mut gone = Server::start()?;
    gone.kill()?;
    for put in 1..10 {
        let mut client = connect_to([gone.endpoint(), etcd.endpoint()]).await?;
        client.put("key", "", None).await?;
        ensure!(version(&mut client).await? == put);
    }
    let mut client = connect_to([gone.endpoint()]).await?;
    let put = within(REQUEST_TIMEOUT, client.put("key", "", None)).await;
    ensure!(put.is_err_and(|error| error.to_string() == "connection refused"));
    Ok(())
}

#[tokio::test]
async fn a_client_takes_a_thousand_endpoints() -> Result<()> {
    let etcd = Server::start()?;
    // etcd-client announces all endpoints before the first request, so the channel needs room.
    let mut client = timeout(PATIENCE, connect_to(vec![etcd.endpoint(); 1000])).await??;
    client.put("key", "", None).await?;
    ensure!(version(&mut client).await? == 1);
    Ok(())
}

#[tokio::test]
async fn a_put_that_may_have_been_sent_fails() -> Result<()> {
    let etcd = Server::start()?;
    let proxy = Proxy::to(etcd.address())?;
    let mut client = connect_to([proxy.address().to_string(), etcd.endpoint()]).await?;
    client.put("key", "", None).await?;

    // etcd carries out the put. The network loses the response, and then the connection.
    proxy.lose_responses();
    let mut other = client.clone();
    let put =
        tokio::spawn(async move { within(REQUEST_TIMEOUT, other.put("key", "", None)).await });
    let mut direct = Client::connect([etcd.endpoint()], None).await?;
    while version(&mut direct).await? < 2 {}
    proxy.disconnect();
    let error = put.await?.err().context("it got a response")?.to_string();
    let expected = "connection lost (the request may still have been carried out)";
    ensure!(error == expected, "{error}");

    // The next request goes to the other endpoint, where no response is lost.
    proxy.lose_responses();
    ensure!(version(&mut client).await? == 2);
    Ok(())
}

#[tokio::test]
async fn the_next_request_leaves_a_silent_member() -> Result<()> {
    let etcd = Server::start()?;
    let mute = Server::start()?;
    let mut client = connect_to([mute.endpoint(), etcd.endpoint()]).await?;
    let _frozen = mute.freeze()?;
    let put = within(REQUEST_TIMEOUT, client.put("key", "", None)).await;
    ensure!(put.is_err_and(|error| error.to_string().starts_with("no response within 1s")));
    client.put("key", "", None).await?;
    ensure!(version(&mut client).await? == 1);
    Ok(())
}

#[tokio::test]
async fn the_next_request_leaves_a_leaderless_member() -> Result<()> {
    let etcd = Server::start()?;
    let mut cluster = Cluster::start()?;
    let mut client = connect_to([cluster.members[0].endpoint(), etcd.endpoint()]).await?;
    for member in &mut cluster.members[1..] {
        member.kill()?;
    }
    // For a while, the member waits for the others instead of refusing.
    let refused = async {
        loop {
            match timeout(REQUEST_TIMEOUT, client.get("key", None)).await {
                Ok(Err(error)) => break Ok(error),
                _ => client = connect_to([cluster.members[0].endpoint(), etcd.endpoint()]).await?,
            }
        }
    };
    let refused: Result<_> = timeout(PATIENCE, refused).await?;
    let refused = refused?;
    ensure!(refused.to_string().contains("etcdserver: no leader"), "{refused}");
    client.put("key", "", None).await?;
    ensure!(version(&mut client).await? == 1);
    Ok(())
}

/// Starts a cluster of a voting member and a learner.
async fn with_learner() -> Result<(Server, Server)> {
    let (one, two) = (format!("http://{}", free_address()?), format!("http://{}", free_address()?));
    let own = |name: &str, peer: &str| {
        [
            format!("--name={name}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ]
    };
    let start = |flags: Vec<String>| {
        Server::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let all = format!("--initial-cluster=voter={one}");
    let voter = start([&own("voter", &one)[..], std::slice::from_ref(&all)].concat())?;
    let mut client = connect_to([voter.endpoint()]).await?;
    client.member_add([&*two], Some(MemberAddOptions::new().with_is_learner())).await?;
    let all = [format!("{all},learner={two}"), "--initial-cluster-state=existing".to_owned()];
    let learner = start([&own("learner", &two)[..], &all].concat())?;
    Ok((voter, learner))
}

#[tokio::test]
async fn the_next_request_leaves_a_learner() -> Result<()> {
    let (voter, learner) = with_learner().await?;
    let endpoints = [learner.endpoint(), voter.endpoint()];
    let mut client = connect_to(&endpoints).await?;
    let refused = within(REQUEST_TIMEOUT, client.put("key", "", None)).await;
    let refused = refused.err().context("it serves")?;
    ensure!(!is_refusal(&refused) && refused.to_string().ends_with("for learner"), "{refused}");
    client.put("key", "", None).await?;

    let session = Session::open(&connect_to(&endpoints).await?, PATIENCE).await?;
    ensure!(Mutex::new(&session, "key").lock().await?.unlock().await?);

    // The same at a log-in, which fails in another way if there are no users.
    add_users(&mut client).await?;
    let mut chapter = program_with(&endpoints.join(","), "put-get")?;
    chapter.env("ETCDCTL_USER", "anna:secret");
    let (lines, status) = Program::start(chapter)?.end()?;
    ensure!(status.success() && lines.last().is_some_and(|line| line == "testkey,testvalues"));
    Ok(())
}
