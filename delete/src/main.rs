//! Deletes one key and prints how many keys that were.
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

    // To delete a key that does not exist is no error.
    writeln!(stdout(), "deleted {}", response.deleted())?;

    Ok(())
}
