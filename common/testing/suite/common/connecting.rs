//! Connecting to an etcd, or to something else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, connect_to, is_refusal, reconnect, within};
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, LeaseGrantOptions, PutOptions,
};
use etcd_server::{Server, add_users};
use testing::{Program, TestMachine, program_with};

/// Runs a chapter with this environment variable. It must fail in time, with one line. Returns that
/// line.
fn expect_failure(variable: &str, value: &str) -> Result<String> {
    let mut chapter = program_with("", "put-get")?;
    chapter.env(variable, value).env("RUST_BACKTRACE", "1");
    let begin = Instant::now();
    let (lines, status) = Program::start(chapter)?.end()?;
    ensure!(begin.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(2), "{:?}", begin.elapsed());
    ensure!(status.code() == Some(1) && lines.len() == 1, "{status}: {lines:#?}");
    Ok(lines.concat())
}

#[test]
fn a_host_that_does_not_exist_is_named() -> Result<()> {
    let error = expect_failure("ETCDCTL_ENDPOINTS", "no-such-host.invalid:2379")?;
    let cause =
        "cannot reach etcd at no-such-host.invalid:2379: failed to lookup address information";
    ensure!(error.starts_with(&format!("Error: {cause}: ")), "{error}");
    let advice = "; check ETCDCTL_ENDPOINTS, or unset that variable to use an etcd on this machine";
    ensure!(error.ends_with(advice), "{error}");
    Ok(())
}

#[test]
fn connect_gives_up_on_a_silent_server() -> Result<()> {
    let mute = TcpListener::bind("127.0.0.1:0")?; // the system accepts connections for it
    let address = mute.local_addr()?;
    let error = expect_failure("ETCDCTL_ENDPOINTS", &address.to_string())?;
    let expected = format!("Error: cannot reach etcd at {address}: no response; ");
    ensure!(error.starts_with(&expected), "{error}");
    Ok(())
}

#[test]
fn connect_tells_a_web_server_from_etcd() -> Result<()> {
    let web = TcpListener::bind("127.0.0.1:0")?;
    let address = web.local_addr()?;
    thread::spawn(move || {
        for connection in web.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let expected = format!(
        "Error: cannot reach etcd at {address}: the server there is not etcd, or it expects TLS ("
    );
    let error = expect_failure("ETCDCTL_ENDPOINTS", &address.to_string())?;
    ensure!(error.starts_with(&expected), "{error}");
    // If the web server has the port of this machine's etcd, the chapter starts no etcd.
    let error = expect_failure("ETCD_LOCAL_PORT", &address.port().to_string())?;
    ensure!(error.starts_with(&expected), "{error}");
    let advice = "; stop the program that uses that port, or set ETCD_LOCAL_PORT to a free port";
    ensure!(error.ends_with(advice), "{error}");
    Ok(())
}

#[test]
fn an_unusable_endpoint_is_named() -> Result<()> {
    for (value, expected) in [
        (" ", "cannot use ETCDCTL_ENDPOINTS: \" \" names no endpoint; write "),
        (" , ,", "cannot use ETCDCTL_ENDPOINTS: \" , ,\" names no endpoint; write "),
    ] {
        let error = expect_failure("ETCDCTL_ENDPOINTS", value)?;
        ensure!(error.starts_with(&format!("Error: {expected}")), "{error}");
    }
    for endpoint in [
        "localhost",
        "http://a b:1",
        "ftp://a:1",
        "a^b:1",
        "http://127.0.0.1?x:2379", // the port is 80
        "127.0.0.1#x:2379",
        "user@127.0.0.1:2379",
        "http://127.0.0.1/x:2379",
        "http://127.0.0.1:2379/x",
        "127.0.0.1\\x:2379",
        "::1:2379",
        "[::1]",
        ":2379",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
    ] {
        let error = expect_failure("ETCDCTL_ENDPOINTS", endpoint)?;
        let expected = format!("Error: cannot use {endpoint:?} from ETCDCTL_ENDPOINTS; write ");
        ensure!(error.starts_with(&expected), "{error}");
    }
    for port in ["etcd", "0", "99999"] {
        let error = expect_failure("ETCD_LOCAL_PORT", port)?;
        let expected = format!("Error: cannot use ETCD_LOCAL_PORT: {port:?} is not a port; write ");
        ensure!(error.starts_with(&expected), "{error}");
    }
    Ok(())
}

#[test]
fn endpoints_are_parsed_as_in_etcdctl() -> Result<()> {
    let mut machine = TestMachine::new()?;
    machine.start_server()?;
    let address = machine.address;
    for endpoints in ["", &format!(" http://{address} ,, {address},")] {
        let mut chapter = machine.command("put-get")?;
        chapter.env("ETCDCTL_ENDPOINTS", endpoints);
        Program::start(chapter)?.expect("testkey,testvalues")?;
    }
    Ok(())
}

#[tokio::test]
async fn connect_to_refuses_an_endpoint_without_a_port() -> Result<()> {
    let client = connect_to(["127.0.0.1:2379", "localhost"]).await;
    let error = client.err().context("it takes an endpoint without a port")?.to_string();
    ensure!(
        error.starts_with("cannot use \"localhost\" as an endpoint; write host:port, "),
        "{error}"
    );
    Ok(())
}

#[test]
fn ipv6_addresses_are_accepted() -> Result<()> {
    let error = expect_failure("ETCDCTL_ENDPOINTS", "http://[::1]:1/")?;
    ensure!(error.starts_with("Error: cannot reach etcd at http://[::1]:1/: "), "{error}");
    Ok(())
}

#[test]
fn connect_goes_on_without_unhealthy_endpoints() -> Result<()> {
    let mut machine = TestMachine::new()?;
    machine.start_server()?;
    for _ in 0..10 {
        let mut chapter = machine.command("put-get")?;
        chapter.env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:1,{},127.0.0.1:2", machine.address));
        Program::start(chapter)?.expect_success(&[
            "going on without 127.0.0.1:1: connection refused",
            "going on without 127.0.0.1:2: connection refused",
            "testkey,testvalues",
        ])?;
    }
    let error = expect_failure("ETCDCTL_ENDPOINTS", "127.0.0.1:1,127.0.0.1:2")?;
    let expected =
        "Error: cannot reach etcd at 127.0.0.1:1, 127.0.0.1:2: connection refused; check ";
    ensure!(error.starts_with(expected), "{error}");
    Ok(())
}

/// Starts a proxy that passes on one connection to `server`, and refuses all others. Returns its
/// address.
fn pass_on_once(server: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<()> {
        let (client, _) = listener.accept()?;
        drop(listener);
        let server = TcpStream::connect(server)?;
        let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
        for (mut from, mut to) in ways {
            thread::spawn(move || io::copy(&mut from, &mut to));
        }
        Ok(())
    });
    Ok(address)
}

#[test]
fn the_client_reuses_the_health_checks_connections() -> Result<()> {
    let etcd = Server::start()?;
    let (one, two) = (pass_on_once(etcd.address())?, pass_on_once(etcd.address())?);
    let mut chapter = program_with("", "put-get")?;
    chapter.env("ETCDCTL_ENDPOINTS", format!("{one},{two}"));
    Program::start(chapter)?.expect_success(&["testkey,testvalues"])
}

#[tokio::test]
async fn every_refusal_is_final() -> Result<()> {
    let etcd = Server::start()?;
    let mut client = connect_to([etcd.endpoint()]).await?;
    let id = client.lease_grant(60, None).await?.id();
    let same = LeaseGrantOptions::new().with_id(id);
    let member = client.status().await?.header().context("no header")?.member_id();
    let no_lease = PutOptions::new().with_lease(1);
    let mut errors = vec![
        within(REQUEST_TIMEOUT, client.lease_grant(60, Some(same))).await.err(),
        within(REQUEST_TIMEOUT, client.put("big", vec![0; 3_000_000], None)).await.err(),
        within(REQUEST_TIMEOUT, client.put("", "", None)).await.err(),
        within(REQUEST_TIMEOUT, client.put("key", "", Some(no_lease))).await.err(),
        within(REQUEST_TIMEOUT, client.auth_enable()).await.err(),
        within(REQUEST_TIMEOUT, client.lease_keep_alive(1)).await.err(),
    ];
    let mut alarm = AlarmOptions::new();
    alarm.with_member(member);
    client.alarm(AlarmAction::Activate, AlarmType::Corrupt, Some(alarm)).await?;
    errors.push(within(REQUEST_TIMEOUT, client.put("key", "", None)).await.err());
    for error in errors {
        let error = error.context("etcd has carried it out")?;
        ensure!(is_refusal(&error), "{error}");
    }
    Ok(())
}

/// The advice in TROUBLESHOOTING.md: delete, compact, defragment, and end the alarm.
#[tokio::test]
async fn the_advice_for_a_full_database_helps() -> Result<()> {
    let etcd = Server::start_with(&["--quota-backend-bytes=1000000"])?;
    let mut client = Client::connect([etcd.endpoint()], None).await?;
    let full = loop {
        if let Err(error) = client.put("key", vec![0; 100_000], None).await {
            break error.to_string();
        }
    };
    ensure!(full.contains("database space exceeded"), "{full}");
    let deleted = client.delete("key", None).await?;
    let now = deleted.header().context("no header")?.revision();
    client.compact(now, Some(CompactionOptions::new().with_physical())).await?;
    client.defragment().await?;
    // `etcdctl alarm disarm` looks up the member first, as we do here.
    let mut alarm = AlarmOptions::new();
    alarm.with_member(client.status().await?.header().context("no header")?.member_id());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(alarm)).await?;
    client.put("key", vec![0; 100_000], None).await?;
    Ok(())
}

#[tokio::test]
async fn reconnect_names_no_endpoint() -> Result<()> {
    let client = connect_to(["127.0.0.1:1"]).await?;
    let error = reconnect(&client).await.err().context("it has reached one")?;
    ensure!(error.to_string() == "cannot reach etcd: connection refused", "{error}");
    Ok(())
}

#[tokio::test]
async fn reconnect_explains_like_the_health_check() -> Result<()> {
    let web = TcpListener::bind("127.0.0.1:0")?;
    let address = web.local_addr()?;
    thread::spawn(move || {
        for mut connection in web.incoming().flatten() {
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let client = connect_to([address.to_string()]).await?;
    let error = reconnect(&client).await.err().context("it has reached one")?.to_string();
    let expected = "cannot reach etcd: the server there is not etcd, or it expects TLS or ";
    ensure!(error.starts_with(expected), "{error}");

    // Add users after the client has connected.
    let etcd = Server::start_with(&["--bcrypt-cost=4"])?;
    let client = connect_to([etcd.endpoint()]).await?;
    add_users(&mut client.clone()).await?;
    let error = reconnect(&client).await.err().context("it has reached one")?.to_string();
    let expected = "cannot reach etcd: this etcd has users; set ETCDCTL_USER to name:password";
    ensure!(error == expected, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_connection_error_is_not_final() -> Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // Ends a connection with the reason ENHANCE_YOUR_CALM.
    const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    thread::spawn(move || {
        for mut connection in server.incoming().flatten() {
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(&[&SETTINGS[..], &GO_AWAY].concat());
        }
    });
    let mut client = connect_to([address.to_string()]).await?;
    let error = within(REQUEST_TIMEOUT, client.put("key", "", None)).await.err();
    let error = error.context("it was carried out")?;
    ensure!(!is_refusal(&error), "{error}");
    Ok(())
}
