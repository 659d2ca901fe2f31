//! Writes one key and reads it back.
//!
//! ```text
//! cargo run -p put-get
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect, within};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Go needs `defer cli.Close()` here; dropping the client closes it.
    let mut client = connect().await?;

    // Go's program prints an error and goes on; `?` ends this one.
    within(REQUEST_TIMEOUT, client.put("testkey", "testvalues", None))
        .await
        .context("put failed")?;

    let response =
        within(REQUEST_TIMEOUT, client.get("testkey", None)).await.context("get failed")?;

    // A get reads a range of keys; one key is the shortest range, so the answer
    // is a list here too, empty if the key does not exist.
    for kv in response.kvs() {
        println!("{},{}", kv.key_str()?, kv.value_str()?);
    }

    Ok(())
}
