//! An etcd with users.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::{REQUEST_TIMEOUT, within};
use etcd_client::{Client, ConnectOptions, RoleRevokePermissionOptions};
use etcd_server::{Server, add_users};
use tempfile::NamedTempFile;
use testing::{Program, program_at};
use tokio::time::sleep;

use super::cluster::{LOCK, expect_success_but_for_ttl};

/// Makes each log-in quick. At the default cost, a log-in takes more than a second on a busy
/// machine.
const QUICK: &str = "--bcrypt-cost=4";

/// Adds users to `etcd`. Returns a client that is logged in as root.
async fn with_users(etcd: &Server) -> Result<Client> {
    let mut client = Client::connect([etcd.endpoint()], None).await?;
    client.user_add("a:b", "secret", None).await?;
    add_users(&mut client).await?;
    client.update_user(Some(("root".into(), "secret".into()))).await?;
    client.user_grant_role("a:b", "student").await?;
    Ok(client)
}

/// Starts a chapter. The variables say as which user.
fn start(etcd: &Server, chapter: &str, variables: &[(&str, &str)]) -> Result<Program> {
    let mut command = program_at(etcd, chapter)?;
    command.envs(variables.iter().copied());
    Program::start(command)
}

#[tokio::test]
async fn users_log_in_and_refusals_are_explained() -> Result<()> {
    let etcd = Server::start_with(&[QUICK])?;
    let put_get = |variables: &[_]| start(&etcd, "put-get", variables)?.end();
    // An etcd without users ignores the name.
    ensure!(put_get(&[("ETCDCTL_USER", "anna:secret")])?.0 == ["testkey,testvalues"]);

    with_users(&etcd).await?;
    for variables in [
        &[("ETCDCTL_USER", "anna:secret")][..],
        &[("ETCDCTL_USER", "anna"), ("ETCDCTL_PASSWORD", "secret")],
        &[("ETCDCTL_USER", "a:b"), ("ETCDCTL_PASSWORD", "secret")],
    ] {
        let (lines, status) = put_get(variables)?;
        ensure!(status.success() && lines == ["testkey,testvalues"], "{variables:?}: {lines:#?}");
    }

    let at = etcd.endpoint();
    let refused =
        format!("at {at}: etcdserver: authentication failed, invalid user ID or password");
    for (variables, error) in [
        (&[("ETCDCTL_USER", "anna:wrong")][..], format!("cannot log in as anna {refused}")),
        (&[("ETCDCTL_USER", "nobody:secret")], format!("cannot log in as nobody {refused}")),
        (
            &[("ETCDCTL_USER", "anna:secret"), ("ETCDCTL_PASSWORD", "secret")],
            format!("cannot log in as anna {refused}"), // what follows the colon may be a password
        ),
        (
            &[("ETCDCTL_USER", ":secret")],
            "cannot use ETCDCTL_USER: no name is before the colon; write name:password".to_owned(),
        ),
        (
            &[("ETCDCTL_USER", "anna")],
            "cannot use ETCDCTL_USER: \"anna\" has no password; set ETCDCTL_PASSWORD, or write \
             name:password"
                .to_owned(),
        ),
        (
            &[("ETCDCTL_PASSWORD", "secret")],
            format!(
                "cannot reach etcd at {at}: this etcd has users; set ETCDCTL_USER to name:password; \
                 check ETCDCTL_ENDPOINTS, or unset that variable to use an etcd on this machine"
            ),
        ),
    ] {
        let (lines, status) = put_get(variables)?;
        ensure!(status.code() == Some(1), "{status}: {lines:#?}");
        ensure!(lines == [format!("Error: {error}")], "{variables:?}: {lines:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_permission_is_reported() -> Result<()> {
    let etcd = Server::start_with(&[QUICK])?;
    let mut client = with_users(&etcd).await?;
    client.role_revoke_permission("student", "testkey", None).await?;
    let below = RoleRevokePermissionOptions::new().with_prefix();
    client.role_revoke_permission("student", "/my-lock/", Some(below)).await?;
    let anna = [("ETCDCTL_USER", "anna:secret")];
    let denied = "etcdserver: permission denied";

    let (lines, _) = start(&etcd, "lock", &anna)?.end()?;
    ensure!(lines.last().is_some_and(|line| line.trim() == denied), "{lines:#?}");
    let (lines, status) = start(&etcd, "put-get", &anna)?.end()?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(
        lines == ["Error: put failed", "", "Caused by:", &format!("    {denied}")],
        "{lines:?}"
    );
    // A client doesn't need the environment to be refused.
    let options = ConnectOptions::new().with_user("anna", "secret");
    let mut client = Client::connect([etcd.endpoint()], Some(options)).await?;
    let put = within(REQUEST_TIMEOUT, client.put("testkey", "", None)).await;
    ensure!(put.is_err_and(|error| format!("{error:#}") == denied));
    let (lines, _) = start(&etcd, "watch", &anna)?.end()?;
    ensure!(lines.len() == 1 && lines[0].starts_with("Error: watch canceled: "), "{lines:?}");
    ensure!(lines[0].ends_with("etcdserver: permission denied"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_replaced() -> Result<()> {
    let etcd = Server::start_with(&["--auth-token-ttl=1", QUICK])?;
    with_users(&etcd).await?.put("/my-lock//another", "", None).await?;
    let lock = start(&etcd, "lock", &[("ETCDCTL_USER", "anna:secret")])?;
    // Longer than a session lives without renewals. Every renewal comes after its token has
    // expired.
    sleep(Duration::from_secs(7)).await;
    let root = ConnectOptions::new().with_user("root", "secret");
    let mut client = Client::connect([etcd.endpoint()], Some(root)).await?;
    client.delete("/my-lock//another", None).await?;
    lock.expect_success(&LOCK)
}

#[tokio::test]
async fn a_token_lost_in_a_restart_is_replaced() -> Result<()> {
    let mut etcd = Server::start_with(&[QUICK])?;
    with_users(&etcd).await?;
    let anna = [("ETCDCTL_USER", "anna:secret")];
    let watch = start(&etcd, "watch", &anna)?;
    watch.expect("watching testkey")?;
    let lease = start(&etcd, "lease", &anna)?;
    lease.expect("foo is set, for 5 seconds")?;
    // A restart loses all tokens, which etcd keeps in memory.
    etcd.restart()?;
    let line = watch.line()?.unwrap_or_default();
    ensure!(line.starts_with("lost the connection; "), "{line}");
    start(&etcd, "put-get", &anna)?.expect_success(&["testkey,testvalues"])?;
    watch.expect("revision 3: PUT \"testkey\" : \"testvalues\"")?;
    expect_success_but_for_ttl(lease, &["foo is gone"])
}

/// Returns the flag that makes etcd give out JWTs, signed with the key in this file.
fn jwt(key: &NamedTempFile) -> String {
    format!("--auth-token=jwt,priv-key={},sign-method=HS256,ttl=10m", key.path().display())
}

#[tokio::test]
async fn a_token_outdated_by_roles_is_replaced() -> Result<()> {
    let mut key = NamedTempFile::new()?;
    key.write_all(b"no secret")?;
    let etcd = Server::start_with(&[QUICK, &jwt(&key)])?;
    with_users(&etcd).await?;
    let root = ConnectOptions::new().with_user("root", "secret");
    let mut root = Client::connect([etcd.endpoint()], Some(root)).await?;
    root.put("/my-lock//another", "", None).await?;
    let anna = [("ETCDCTL_USER", "anna:secret")];
    let lock = start(&etcd, "lock", &anna)?;
    let keepalive = start(&etcd, "keepalive", &anna)?;
    keepalive.expect("ttl: 3, renewed: 5")?;
    root.role_add("another").await?;
    // Longer than a session lives without renewals.
    sleep(Duration::from_secs(7)).await;
    root.refresh_token().await?;
    root.delete("/my-lock//another", None).await?;
    lock.expect_success(&LOCK)?;
    let (lines, status) = keepalive.end()?;
    ensure!(status.success(), "{lines:#?}");
    Ok(())
}

#[ignore = "keeps a core busy for seconds"]
#[tokio::test]
async fn a_log_in_may_take_longer_than_a_request() -> Result<()> {
    // At this cost, etcd needs a second or two for the hash of a password.
    let etcd = Server::start_with(&["--bcrypt-cost=14"])?;
    let mut client = Client::connect([etcd.endpoint()], None).await?;
    client.user_add("root", "secret", None).await?;
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.auth_enable().await?;
    start(&etcd, "put-get", &[("ETCDCTL_USER", "root:secret")])?
        .expect_success(&["testkey,testvalues"])
}
