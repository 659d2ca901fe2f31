use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

/// Returns an address on loopback at which nobody listens, for a server that cannot let the system pick
/// its port.
///
/// # Errors
///
/// The system has no port left.
pub fn free_address() -> Result<SocketAddr> {
    loop {
        // The system's choice, moved out of the range from which it gives ports to other programs: none
        // of them gets this one before the server listens.
        let picked = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + picked % 10_000));
        if TcpListener::bind(address).is_ok() {
            // A process that another thread is just starting has inherited the socket, for a moment.
            while TcpStream::connect(address).is_ok() {
                sleep(Duration::from_millis(1));
            }
            return Ok(address);
        }
    }
}
