//! Users for a private etcd.

use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::{Client, Permission};
use tokio::time::timeout;

/// Adds two users, both with the password `secret`, and turns on authentication. `anna` may use
/// only the keys of the chapters and exercises. `root`, whom etcd demands, may do everything.
///
/// # Errors
///
/// etcd refuses a request, or all responses together take more than 5 s.
pub async fn add_users(client: &mut Client) -> Result<()> {
    let requests = async {
        client.role_add("student").await?;
        for key in ["testkey", "foo"] {
            client.role_grant_permission("student", Permission::read_write(key)).await?;
        }
        for prefix in ["/my-lock/", "session!", "exercise/"] {
            let below = Permission::read_write(prefix).with_prefix();
            client.role_grant_permission("student", below).await?;
        }
        for (user, role) in [("root", "root"), ("anna", "student")] {
            client.user_add(user, "secret", None).await?;
            client.user_grant_role(user, role).await?;
        }
        client.auth_enable().await
    };
    timeout(Duration::from_secs(5), requests).await.context("no response within 5s")??;
    Ok(())
}
