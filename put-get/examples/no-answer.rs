//! Puts a value on an etcd that is frozen, so that no response comes, and thaws it afterwards.
//!
//! ```text
//! cargo run -p put-get --example no-answer
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect_to, within};
use etcd_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // An etcd of its own: nobody else waits for the frozen one.
    let etcd = Server::start()?;
    let mut client = connect_to([etcd.endpoint()]).await?;
    within(REQUEST_TIMEOUT, client.put("testkey", "before", None)).await.context("put failed")?;

    let frozen = etcd.freeze()?;
    let put = within(REQUEST_TIMEOUT, client.put("testkey", "after", None)).await;
    if let Err(error) = put {
        writeln!(stdout(), "put failed: {error}")?;
    }
    drop(frozen);

    let response =
        within(REQUEST_TIMEOUT, client.get("testkey", None)).await.context("get failed")?;
    for kv in response.kvs() {
        writeln!(stdout(), "{},{}", kv.key_str()?, kv.value_str()?)?;
    }
    Ok(())
}
