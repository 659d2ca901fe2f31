//! Deletes one key and tells how many there were.
//!
//! ```text
//! cargo run -p delete
//! ```

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect, within};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut client = connect().await?;

    let response =
        within(REQUEST_TIMEOUT, client.delete("testkey", None)).await.context("delete failed")?;

    // Deleting what is not there is no error.
    println!("deleted {}", response.deleted());

    Ok(())
}
