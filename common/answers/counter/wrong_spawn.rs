//! Wrong: returns before etcd has responded, so the caller believes in an addition that may never
//! happen.

use anyhow::Result;
use etcd_client::Client;
use tokio::task::spawn_local;

use super::solution;

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    let (mut client, key) = (client.clone(), key.to_owned());
    spawn_local(async move { solution::add(&mut client, &key).await });
    Ok(())
}
