//! Writes one key and reads it back.
//!
//! ```text
//! cargo run -p put-get
//! cargo run -p put-get -- hello     puts this value
//! cargo run -p put-get -- --get     only reads
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use bstr::BStr;
use common::{REQUEST_TIMEOUT, argument, connect, within};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let value = argument("VALUE | --get", include_str!("main.rs")).unwrap_or("testvalues".into());
    // Dropping the client closes the connection. Go needs `defer cli.Close()`.
    let mut client = connect().await?;

    if value != b"--get" {
        // The Go program prints an error and goes on; `?` ends this one.
        within(REQUEST_TIMEOUT, client.put("testkey", value, None)).await.context("put failed")?;
    }

    let response =
        within(REQUEST_TIMEOUT, client.get("testkey", None)).await.context("get failed")?;

    // A get reads a range of keys, here of one key, so the response holds a list. The list is
    // empty if the key doesn't exist.
    for kv in response.kvs() {
        writeln!(stdout(), "{},{}", BStr::new(kv.key()), BStr::new(kv.value()))?;
    }

    Ok(())
}
