//! Wrong: asks etcd whether it still has the lock, and goes on leading if no response comes.

use std::time::Duration;

use anyhow::Result;
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, Txn};
use lock::{Mutex, Session};
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    let mut client = client.clone();
    loop {
        let session = Session::open(&client, ttl).await?;
        let guard = Mutex::new(&session, lock).lock().await?;
        leads(true);
        loop {
            sleep(ttl / 10).await;
            let ours = Txn::new().when([guard.is_owner()]);
            let response = within(REQUEST_TIMEOUT, client.txn(ours)).await;
            if response.is_ok_and(|response| !response.succeeded()) {
                break;
            }
        }
        leads(false);
    }
}
