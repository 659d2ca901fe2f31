//! Puts a value while the network loses what etcd sends, so that no response comes.
//!
//! ```text
//! cargo run -p put-get --example no-response
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect_to, no_argument, within};
use etcd_server::{Proxy, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("no-response.rs"));
    // A private etcd, and a proxy in front of it that can lose what etcd sends.
    let etcd = Server::start()?;
    let network = Proxy::to(etcd.address())?;
    let mut client = connect_to([network.address().to_string()]).await?;
    within(REQUEST_TIMEOUT, client.put("testkey", "before", None)).await.context("put failed")?;

    network.lose_responses();
    if let Err(error) = within(REQUEST_TIMEOUT, client.put("testkey", "after", None)).await {
        writeln!(stdout(), "put failed: {error}")?;
    }

    // Ask etcd directly: the proxy still loses its responses.
    let mut client = connect_to([etcd.endpoint()]).await?;
    let response =
        within(REQUEST_TIMEOUT, client.get("testkey", None)).await.context("get failed")?;
    for kv in response.kvs() {
        writeln!(stdout(), "{},{}", kv.key_str()?, kv.value_str()?)?;
    }
    Ok(())
}
