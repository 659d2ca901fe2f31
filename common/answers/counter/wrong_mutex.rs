//! Wrong: the mutex makes the tasks of this program wait for each other, but no other program.

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::Client;
use tokio::sync::Mutex;

static TURN: Mutex<()> = Mutex::const_new(());

pub async fn add(client: &mut Client, key: &str) -> Result<()> {
    let _turn = TURN.lock().await;
    let found = within(REQUEST_TIMEOUT, client.get(key, None)).await.context("get failed")?;
    let kv = found.kvs().first().context("there is no counter")?;
    let number: i64 = kv.value_str()?.parse()?;
    within(REQUEST_TIMEOUT, client.put(key, (number + 1).to_string(), None)).await?;
    Ok(())
}
