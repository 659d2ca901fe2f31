//! Right: takes part in etcd's own election, on the lease of a session.

use std::time::Duration;

use anyhow::{Result, bail};
use common::{NO_LIMIT, within};
use etcd_client::Client;
use lock::Session;
use tokio::time::sleep;

pub async fn stand(client: &Client, lock: &str, ttl: Duration, leads: impl Fn(bool)) -> Result<()> {
    loop {
        if let Ok(session) = Session::open(client, ttl).await {
            if campaign(client, lock, &session).await.is_ok() {
                leads(true);
                session.lost().await;
                leads(false);
            }
            let _ = session.close().await;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn campaign(client: &Client, lock: &str, session: &Session) -> Result<()> {
    let mut client = client.clone();
    tokio::select! {
        biased;
        () = session.lost() => bail!("the session is lost"),
        // Without a limit, but not for longer than the session lives.
        elected = within(NO_LIMIT, client.campaign(lock, "candidate", session.lease())) => {
            elected.map(drop)
        }
    }
}
