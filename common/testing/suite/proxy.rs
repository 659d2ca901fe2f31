//! Which data passes a proxy, and when.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_server::Proxy;

/// How long a test waits for data that must come.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn data_sent_during_a_cut_arrives_later() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, mut server) = connection(&proxy, &listener)?;
    let (silent, mut other) = connection(&proxy, &listener)?;

    proxy.cut();
    client.write_all(b"request")?;
    server.write_all(b"response")?;
    client.shutdown(Shutdown::Write)?;
    drop(silent);
    wait_until_paused(&proxy);
    for stream in [&mut client, &mut server, &mut other] {
        ensure!(receives_nothing(stream)?);
    }

    proxy.mend();
    let mut request = String::new();
    server.read_to_string(&mut request)?; // up to the end
    ensure!(request == "request");
    ensure!(read(&mut client, 8)? == b"response");
    ensure!(other.read(&mut [0])? == 0);
    Ok(())
}

#[test]
fn delayed_responses_arrive_late_and_in_order() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, mut server) = connection(&proxy, &listener)?;

    let delay = Duration::from_millis(300);
    proxy.delay_responses(delay);
    let sent = Instant::now();
    for response in [b"first ", b"second"] {
        server.write_all(response)?;
        sleep(delay / 3);
    }
    ensure!(read(&mut client, 12)? == b"first second");
    ensure!(sent.elapsed() > delay + delay / 3);
    Ok(())
}

#[test]
fn a_disconnected_clients_request_arrives() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, mut server) = connection(&proxy, &listener)?;

    proxy.pause_requests();
    client.write_all(b"request")?;
    wait_until_paused(&proxy);
    proxy.disconnect();
    ensure!(client.read(&mut [0])? == 0);
    drop(client);
    let (mut client, mut next) = connection(&proxy, &listener)?;
    client.write_all(b"next")?;
    ensure!(read(&mut next, 4)? == b"next");
    ensure!(receives_nothing(&mut server)?);

    proxy.mend();
    ensure!(read(&mut server, 7)? == b"request");
    ensure!(receives_nothing(&mut server)?);
    Ok(())
}

#[test]
fn responses_are_lost_until_a_disconnect() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, mut server) = connection(&proxy, &listener)?;

    proxy.lose_responses();
    server.write_all(b"response")?;
    client.write_all(b"request")?;
    ensure!(read(&mut server, 7)? == b"request");
    ensure!(receives_nothing(&mut client)?);
    proxy.disconnect();
    ensure!(client.read(&mut [0])? == 0);

    let (mut client, mut server) = connection(&proxy, &listener)?;
    server.write_all(b"response")?;
    ensure!(read(&mut client, 8)? == b"response");
    Ok(())
}

#[test]
fn refused_clients_see_the_end_until_the_proxy_is_mended() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, _server) = connection(&proxy, &listener)?;

    proxy.refuse();
    ensure!(client.read(&mut [0])? == 0);
    let mut refused = TcpStream::connect(proxy.address())?;
    refused.set_read_timeout(Some(PATIENCE))?;
    ensure!(refused.read(&mut [0])? == 0);

    proxy.mend();
    let (mut client, mut server) = connection(&proxy, &listener)?;
    client.write_all(b"request")?;
    ensure!(read(&mut server, 7)? == b"request");
    Ok(())
}

#[test]
fn a_client_sees_the_end_of_its_server() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::to(listener.local_addr()?)?;
    let (mut client, server) = connection(&proxy, &listener)?;
    drop(server);
    ensure!(client.read(&mut [0])? == 0);

    drop(listener);
    let mut client = TcpStream::connect(proxy.address())?;
    client.set_read_timeout(Some(PATIENCE))?;
    ensure!(client.read(&mut [0])? == 0);
    Ok(())
}

/// Connects through the proxy. Returns both ends.
fn connection(proxy: &Proxy, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(proxy.address())?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

fn read(from: &mut TcpStream, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether neither data nor the end of the connection come within 20 ms.
fn receives_nothing(stream: &mut TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let read = stream.read(&mut [0]);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
}

fn wait_until_paused(proxy: &Proxy) {
    while !proxy.has_paused() {
        sleep(Duration::from_millis(1));
    }
}
