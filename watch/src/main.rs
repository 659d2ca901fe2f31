//! Prints every change of a key, until it is interrupted.
//!
//! ```text
//! cargo run -p watch           watches testkey
//! cargo run -p watch -- foo    watches foo
//! ```

use std::env;
use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use bstr::BStr;
use common::{NO_LIMIT, REQUEST_TIMEOUT, connect, reconnect, within};
use etcd_client::WatchOptions;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let key = env::args_os().nth(1).map_or(b"testkey".into(), |key| key.into_encoded_bytes());
    let mut client = connect().await?;

    // The revision to watch from; 0 is from now on.
    let mut next = 0;
    loop {
        let from = WatchOptions::new().with_start_revision(next);
        if let Ok(mut stream) = within(REQUEST_TIMEOUT, client.watch(&*key, Some(from))).await {
            // No limit: a watch waits for as long as there may be news.
            while let Ok(Some(response)) = within(NO_LIMIT, stream.message()).await {
                let start = response.compact_revision();
                ensure!(start == 0, "revision {next} is compacted: history begins at {start}");
                ensure!(!response.canceled(), "watch cancelled: {}", response.cancel_reason());
                // The first answer has no event: etcd confirms that it watches.
                if response.created() {
                    let now = response.header().context("no header")?.revision();
                    ensure!(next <= now + 1, "another store: it ends at revision {now}");
                    if next == 0 {
                        writeln!(stdout(), "watching {}", BStr::new(&key))?;
                        next = now + 1;
                    }
                }
                for event in response.events() {
                    let (kind, kv) = (event.event_type(), event.kv().context("no key")?);
                    let (key, value) = (BStr::new(kv.key()), BStr::new(kv.value()));
                    writeln!(stdout(), "{} {key:?} : {value:?}", kind.as_str_name())?;
                    next = kv.mod_revision() + 1;
                }
            }
        }
        // Go's client does this unseen: watch again, from where the events ended.
        eprintln!("lost the connection; watching again from revision {next}");
        reconnect(&client).await?;
    }
}
