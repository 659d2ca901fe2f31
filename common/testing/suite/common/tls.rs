//! An etcd with TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use common::reconnect;
use etcd_client::Client;
use etcd_server::{Cluster, Server, add_users};
use testing::{Program, program, program_with};

use super::cluster::{Fault, Member, check_that_chapters_go_on};

#[tokio::test]
async fn chapters_with_tls_survive_a_killed_leader() -> Result<()> {
    let mut cluster = Cluster::start_secure(true)?;
    let options = Some(cluster.options.clone());
    let mut client = Client::connect([cluster.members[0].endpoint()], options).await?;
    add_users(&mut client).await?;
    cluster.options = cluster.options.with_user("root", "secret");
    let path = |name| cluster.file(name).display().to_string();
    let variables = [
        ("ETCDCTL_CACERT", path("ca.pem")),
        ("ETCDCTL_CERT", path("client.pem")),
        ("ETCDCTL_KEY", path("client.key")),
        ("ETCDCTL_USER", "anna:secret".to_owned()),
    ];
    check_that_chapters_go_on(cluster, &variables, Member::Leader, Fault::Killed).await
}

/// Runs a chapter with these files for TLS, of which an empty path counts as unset. Returns its
/// lines.
fn put_get(endpoint: &str, files: [&str; 3]) -> Result<Vec<String>> {
    let mut command = program_with(endpoint, "put-get")?;
    command.envs(["ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"].into_iter().zip(files));
    let (lines, status) = Program::start(command)?.end()?;
    let failed = lines.iter().any(|line| line.starts_with("Error: "));
    ensure!(status.code() == Some(i32::from(failed)), "{status}: {lines:#?}");
    Ok(lines)
}

#[test]
fn tls_works_and_its_errors_are_explained() -> Result<()> {
    let cluster = Cluster::start_secure(true)?;
    let path = |name| cluster.file(name).display().to_string();
    let [ca, cert, key, other] = ["ca.pem", "client.pem", "client.key", "other.pem"].map(path);
    let [ca, cert, key, other] = [&*ca, &cert, &key, &other];
    for private in [key, &path("server.key")] {
        let mode = fs::metadata(private)?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{private}: {mode:o}");
    }
    let at = cluster.members[0].endpoint();
    let bare = at.strip_prefix("https://").context("no TLS")?;

    // As in etcdctl, the files turn on TLS for an endpoint without a scheme.
    for endpoint in [&*at, bare] {
        ensure!(put_get(endpoint, [ca, cert, key])? == ["testkey,testvalues"]);
    }

    let name = at.replace("127.0.0.1", "localhost");
    let plain = format!("http://{bare}");
    let check = "the server ends the connection; check ETCDCTL_CERT and ETCDCTL_KEY (";
    for (endpoint, files, error) in [
        (&at, ["", cert, key], "invalid peer certificate: UnknownIssuer; "),
        (&at, [other, cert, key], "invalid peer certificate: BadSignature; "),
        (&name, [ca, cert, key], "invalid peer certificate: certificate not valid for name"),
        (&at, [ca, "", ""], check),
        (&at, [ca, other, key], ": keys may not be consistent"),
        (&plain, [ca, cert, key], "the server there is not etcd, or it expects TLS ("),
    ] {
        let lines = put_get(endpoint, files)?;
        ensure!(lines.len() == 1 && lines[0].contains(endpoint), "{lines:#?}");
        ensure!(lines[0].contains(error), "{lines:#?}");
    }
    let missing = put_get(&at, ["/no/such", cert, key])?;
    ensure!(missing[0] == "Error: cannot read /no/such, which ETCDCTL_CACERT names", "{missing:?}");
    let empty = put_get(&at, [key, cert, key])?;
    let error =
        format!("Error: cannot use {key}, which ETCDCTL_CACERT names: the file has no certificate");
    ensure!(empty == [error], "{empty:?}");
    // No message contains a part of a key.
    let secret = fs::read_to_string(key)?;
    let secret = secret.lines().nth(1).context("no key")?;
    ensure!(!put_get(&at, [ca, key, key])?.concat().contains(secret));

    let together = put_get(&format!("{at},{plain}"), [ca, cert, key])?;
    ensure!(
        together[0].contains(" together: some use TLS, and some do not; write "),
        "{together:?}"
    );
    Ok(())
}

#[test]
fn a_server_without_client_certificates_is_verified() -> Result<()> {
    let cluster = Cluster::start_secure(false)?;
    let at = cluster.members[0].endpoint();
    let path = |name| cluster.file(name).display().to_string();
    ensure!(put_get(&at, [&path("ca.pem"), "", ""])? == ["testkey,testvalues"]);
    let lines = put_get(&at, [&path("other.pem"), "", ""])?;
    ensure!(lines[0].contains("invalid peer certificate: BadSignature"), "{lines:?}");
    Ok(())
}

#[test]
fn a_server_without_tls_is_reported() -> Result<()> {
    let etcd = Server::start()?;
    let lines = put_get(&format!("https://{}", etcd.address()), ["", "", ""])?;
    ensure!(
        lines[0].contains(": the server there does not use TLS; write http:// before its address (tls handshake eof)"),
        "{lines:?}"
    );
    Ok(())
}

#[test]
fn the_exported_paths_can_be_pasted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let temporary = folder.path().join("it's a folder");
    fs::create_dir(&temporary)?;
    let mut command = program("etcd-server")?;
    command.arg("tls").env("TMPDIR", &temporary);
    let cluster = Program::start(command)?;
    let mut pasted = String::new();
    for _ in 0..4 {
        pasted += &(cluster.line()?.context("it has ended")? + "\n");
    }
    pasted += r#"cat "$ETCDCTL_CACERT" "$ETCDCTL_CERT" "$ETCDCTL_KEY" > /dev/null"#;
    ensure!(testing::command("sh").args(["-c", &pasted]).status()?.success(), "{pasted}");
    cluster.interrupt()?;
    cluster.end()?;
    Ok(())
}

#[tokio::test]
async fn reconnect_hints_at_a_wrong_certificate() -> Result<()> {
    let (mut cluster, other) = (Cluster::start_secure(true)?, Cluster::start_secure(true)?);
    let endpoint = cluster.members[0].endpoint();
    let client = Client::connect([endpoint], Some(cluster.options.clone())).await?;
    reconnect(&client).await?;
    // From now on the member trusts another CA, but the client keeps its certificate.
    fs::copy(other.file("ca.pem"), cluster.file("ca.pem"))?;
    cluster.members[0].restart()?;
    let error = reconnect(&client).await.err().context("it has reached one")?.to_string();
    ensure!(error.contains("certificate"), "{error}");
    Ok(())
}
