//! Programs that are built without TLS but need it.

use anyhow::{Result, ensure};
use etcd_server::Server;
use testing::{Program, TestMachine, program_at, program_with};

#[test]
fn programs_explain_how_to_build_with_tls() -> Result<()> {
    let built = "Error: cannot use TLS: this program was built without TLS; type:";
    let (lines, status) = Program::start(program_with("https://127.0.0.1:1", "lease")?)?.end()?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(lines == [format!("{built} cargo run -p lease --features common/tls")], "{lines:?}");

    // As in etcdctl, the files turn on TLS for an endpoint without a scheme.
    let etcd = Server::start()?;
    let mut command = program_at(&etcd, "put-get")?;
    command.env("ETCDCTL_CACERT", "/no/such");
    let (lines, _) = Program::start(command)?.end()?;
    ensure!(lines == [format!("{built} cargo run -p put-get --features common/tls")], "{lines:?}");
    let mut command = program_with(&format!("http://{}", etcd.address()), "put-get")?;
    command.env("ETCDCTL_CACERT", "/no/such");
    Program::start(command)?.expect_success(&["testkey,testvalues"])?;

    let mut command = program_at(&etcd, "put-get")?;
    command.env("ETCDCTL_CERT", "/no/such");
    let (lines, _) = Program::start(command)?.end()?;
    ensure!(lines == ["Error: cannot use ETCDCTL_CERT without ETCDCTL_KEY; set both"]);
    Ok(())
}

#[test]
fn no_etcd_is_started_for_a_user() -> Result<()> {
    let machine = TestMachine::new()?;
    let mut command = machine.command("put-get")?;
    command.env("ETCDCTL_USER", "anna:secret");
    let (lines, status) = Program::start(command)?.end()?;
    ensure!(status.code() == Some(1), "{status}");
    let error = format!(
        "Error: cannot reach etcd at {}: connection refused; to start an etcd here, unset \
         ETCDCTL_USER, ETCDCTL_CACERT and ETCDCTL_CERT",
        machine.address
    );
    ensure!(lines == [error], "{lines:?}");
    Ok(())
}

#[test]
fn programs_always_verify_the_server() -> Result<()> {
    let unverified = ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true");
    let mut command = program_with("https://127.0.0.1:1", "put-get")?;
    command.envs([unverified]);
    let (lines, _) = Program::start(command)?.end()?;
    ensure!(
        lines.len() == 1 && lines[0].starts_with("Error: cannot use ETCDCTL_INSECURE_"),
        "{lines:?}"
    );

    let etcd = Server::start()?;
    let mut command = program_at(&etcd, "put-get")?;
    command.envs([unverified]);
    Program::start(command)?.expect_success(&["testkey,testvalues"])
}
