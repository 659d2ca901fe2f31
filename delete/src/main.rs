//! Deletes one key and prints how many keys etcd has deleted.
//!
//! ```text
//! cargo run -p delete
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect, no_argument, within};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("main.rs"));
    let mut client = connect().await?;

    let response =
        within(REQUEST_TIMEOUT, client.delete("testkey", None)).await.context("delete failed")?;

    // Deleting a key that doesn't exist isn't an error: the count is 0.
    writeln!(stdout(), "deleted {}", response.deleted())?;

    Ok(())
}
