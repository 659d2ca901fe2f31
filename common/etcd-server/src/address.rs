use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

/// Returns a free address on loopback, for a server that can't let the system pick its port.
///
/// # Errors
///
/// The system has no port left.
pub fn free_address() -> Result<SocketAddr> {
    loop {
        // The port that the system picks, moved out of the range from which it picks. So it gives
        // the port to no other program before the server listens.
        let picked = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + picked % 10_000));
        if TcpListener::bind(address).is_ok() {
            // A process that another thread is just starting may still hold the socket, which it
            // inherits for a moment.
            while TcpStream::connect(address).is_ok() {
                sleep(Duration::from_millis(1));
            }
            return Ok(address);
        }
    }
}
