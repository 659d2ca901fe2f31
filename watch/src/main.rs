//! Prints every change of a key, with its revision, until Ctrl-C.
//!
//! ```text
//! cargo run -p watch
//! cargo run -p watch -- foo
//! ```

use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use bstr::BStr;
use common::{NO_LIMIT, REQUEST_TIMEOUT, argument, connect, none_if_transient, reconnect, within};
use etcd_client::{WatchOptions, WatchResponse};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let key = argument("KEY", include_str!("main.rs")).unwrap_or("testkey".into());
    ensure!(!key.is_empty(), "cannot watch an empty key: to etcd, that is one zero byte");
    let mut client = connect().await?;

    // The revision to watch from; 0 means from now on.
    let mut next = 0;
    loop {
        // Without fragments, the client would refuse everything that we missed if it is too large.
        let from = WatchOptions::new().with_start_revision(next).with_fragment();
        let opened = within(REQUEST_TIMEOUT, client.watch(&*key, Some(from))).await;
        if let Some(mut stream) = none_if_transient(opened)? {
            // No limit: the next change may come in a second or in a year.
            while let Some(Some(response)) =
                none_if_transient(within(NO_LIMIT, stream.message()).await)?
            {
                next = show(&response, BStr::new(&key), next)?;
            }
        }
        // Go's client does this silently: it watches again, from the revision after the last event.
        eprintln!("lost the connection; watching again from revision {next}");
        reconnect(&client).await?;
    }
}

/// Prints the changes in `response`. Takes the revision to watch from, and returns the next one.
fn show(response: &WatchResponse, key: &BStr, mut next: i64) -> Result<i64> {
    let start = response.compact_revision();
    ensure!(start == 0, "revision {next} is compacted: history begins at {start}");
    ensure!(!response.canceled(), "watch canceled: {}", response.cancel_reason());

    // The first response holds no event: it confirms the watch.
    if response.created() {
        let now = response.header().context("no header")?.revision();
        ensure!(
            next <= now + 1,
            "cannot watch from revision {next}: this is another store, which ends at revision {now}"
        );
        if next == 0 {
            writeln!(stdout(), "watching {key}")?;
            next = now + 1;
        }
    }

    for event in response.events() {
        let (kind, kv) = (event.event_type().as_str_name(), event.kv().context("no key")?);
        let (revision, key, value) =
            (kv.mod_revision(), BStr::new(kv.key()), BStr::new(kv.value()));
        writeln!(stdout(), "revision {revision}: {kind} {key:?} : {value:?}")?;
        next = revision + 1;
    }
    Ok(next)
}
