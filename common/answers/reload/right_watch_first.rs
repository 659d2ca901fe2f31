//! Right: begins the watch before the get, so nothing can come between them, and skips events that
//! aren't newer than what it has applied.

use std::time::Duration;

use anyhow::Result;
use common::{NO_LIMIT, REQUEST_TIMEOUT, within};
use etcd_client::Client;
use tokio::time::sleep;

pub async fn follow(client: &mut Client, key: &str, mut apply: impl FnMut(&str)) -> Result<()> {
    let mut seen = 0;
    loop {
        if let Ok(mut stream) = within(REQUEST_TIMEOUT, client.watch(key, None)).await {
            while let Ok(Some(response)) = within(NO_LIMIT, stream.message()).await {
                let mut news: Vec<_> =
                    response.events().iter().filter_map(|event| event.kv().cloned()).collect();
                if response.created() {
                    match within(REQUEST_TIMEOUT, client.get(key, None)).await {
                        Ok(found) => news.extend_from_slice(found.kvs()),
                        Err(_) => break,
                    }
                }
                for kv in news {
                    if kv.mod_revision() > seen {
                        apply(kv.value_str()?);
                    }
                    seen = seen.max(kv.mod_revision());
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
