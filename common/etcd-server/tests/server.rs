//! What a private server promises.

use std::net::TcpStream;

use anyhow::{Result, ensure};
use etcd_client::Client;
use etcd_server::Server;

#[tokio::test]
async fn keeps_its_data_over_a_restart_and_is_gone_when_dropped() -> Result<()> {
    let mut etcd = Server::start()?;
    let (address, data) = (etcd.address(), etcd.data());
    Client::connect([etcd.endpoint()], None).await?.put("key", "value", None).await?;
    etcd.restart()?;
    let found = Client::connect([etcd.endpoint()], None).await?.get("key", None).await?;
    ensure!(found.count() == 1 && etcd.address() == address);
    drop(etcd);
    ensure!(TcpStream::connect(address).is_err() && !data.exists());
    Ok(())
}
