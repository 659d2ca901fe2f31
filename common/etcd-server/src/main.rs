//! A cluster of three on this machine, until Ctrl-C. Prints what another terminal needs to use
//! it, and then who leads.
//!
//! ```text
//! cargo run -p etcd-server
//! cargo run -p etcd-server -- user
//! cargo run -p etcd-server --features tls -- tls user
//! ```

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_client::Client;
use etcd_server::{Cluster, add_users};
use tokio::time::{sleep, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (mut tls, mut user) = (false, false);
    for word in env::args().skip(1) {
        match &*word {
            "tls" => tls = true,
            "user" => user = true,
            _ => bail!("what is {word:?}? Say tls, user, both or nothing"),
        }
    }
    let mut cluster = if tls { secure()? } else { Cluster::start()? };
    // A chapter uses the first endpoint that answers: there is most to see if that one leads.
    let leader = cluster.leader().await?;
    cluster.members.swap(0, leader);

    println!("export ETCDCTL_ENDPOINTS={}", cluster.endpoints());
    if tls {
        for (variable, file) in
            [("CACERT", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")]
        {
            println!("export ETCDCTL_{variable}={}", cluster.file(file).display());
        }
    }
    if user {
        let options = cluster.options.clone();
        let mut client = Client::connect([cluster.members[0].endpoint()], Some(options)).await?;
        add_users(&mut client).await.context("cannot add users")?;
        cluster.options = cluster.options.with_user("root", "secret");
        println!("export ETCDCTL_USER=anna:secret");
    }
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
        ended = report(&mut cluster) => ended,
    }
}

/// Three members that show a certificate, and want to see one.
#[cfg(feature = "tls")]
fn secure() -> Result<Cluster> {
    Cluster::start_secure(true)
}

#[cfg(not(feature = "tls"))]
fn secure() -> Result<Cluster> {
    let words: Vec<_> = env::args().skip(1).collect();
    let words = words.join(" ");
    bail!("TLS takes: cargo run -p etcd-server --features tls -- {words}")
}

/// Says which member leads, and which have ended, for ever.
async fn report(cluster: &mut Cluster) -> Result<()> {
    let mut last = None;
    loop {
        // A new leader is elected when nothing has been heard of the old one for 1 to 2 s.
        let leader = match timeout(Duration::from_secs(5), cluster.leader()).await {
            Ok(leader) => Some(cluster.members[leader?].id()),
            Err(_) => None,
        };
        match leader {
            Some(process) if leader != last => {
                println!("process {process} leads; kill it with: kill -9 {process}");
            }
            Some(_) => {}
            None => println!("nobody leads: {} of 3 are no majority", cluster.members.len()),
        }
        last = leader;
        let ended = loop {
            match cluster.members.iter_mut().position(|member| !member.is_running()) {
                Some(ended) => break cluster.members.remove(ended),
                None => sleep(Duration::from_millis(100)).await,
            }
        };
        println!("process {} has ended", ended.id());
    }
}
