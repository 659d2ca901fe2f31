use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::Result;

/// Adds up the values of those lines in an etcd's metrics for which `counts` returns true.
pub fn metric(server: SocketAddr, counts: impl Fn(&str) -> bool) -> Result<i64> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let mut sum = 0.0;
    for line in page.lines().filter(|line| counts(line)) {
        sum += line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(sum as i64)
}
