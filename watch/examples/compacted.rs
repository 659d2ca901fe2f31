//! Watches from a revision that etcd has compacted, and prints the two responses.
//!
//! ```text
//! cargo run -p watch --example compacted
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result};
use common::{REQUEST_TIMEOUT, connect_to, no_argument, within};
use etcd_client::WatchOptions;
use etcd_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    no_argument(include_str!("compacted.rs"));
    // A private etcd: a compaction affects every client, and nobody can undo it.
    let etcd = Server::start()?;
    let mut client = connect_to([etcd.endpoint()]).await?;
    for value in ["one", "two", "three"] {
        let response = within(REQUEST_TIMEOUT, client.put("testkey", value, None)).await?;
        let revision = response.header().context("no header")?.revision();
        writeln!(stdout(), "revision {revision}: put {value:?}")?;
    }
    within(REQUEST_TIMEOUT, client.compact(4, None)).await.context("compaction failed")?;
    writeln!(stdout(), "compacted at revision 4")?;

    let from = WatchOptions::new().with_start_revision(2);
    let mut stream = within(REQUEST_TIMEOUT, client.watch("testkey", Some(from))).await?;
    for _ in 0..2 {
        let response =
            within(REQUEST_TIMEOUT, stream.message()).await?.context("the stream has ended")?;
        let (created, canceled) = (response.created(), response.canceled());
        let start = response.compact_revision();
        writeln!(stdout(), "created {created}, canceled {canceled}, history begins at {start}")?;
    }
    Ok(())
}
