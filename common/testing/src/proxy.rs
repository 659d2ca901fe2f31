use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Stands between a client and etcd, and can lose etcd's answers.
pub struct Proxy {
    address: SocketAddr,
    mute: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let mute = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let proxy = Proxy { address, mute: mute.clone(), streams: streams.clone() };
        thread::spawn(move || -> Result<()> {
            loop {
                let (client, _) = listener.accept()?;
                let server = TcpStream::connect(server)?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                let (client2, server2) = (client.try_clone()?, server.try_clone()?);
                let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                streams.extend([client.try_clone()?, server.try_clone()?]);
                let mute = mute.clone();
                thread::spawn(move || pass(client, server, || false));
                thread::spawn(move || pass(server2, client2, || mute.load(Ordering::SeqCst)));
            }
        });
        Ok(proxy)
    }

    /// Where clients reach etcd through it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on etcd gets what clients send, and they get nothing.
    pub fn swallow_answers(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    /// Ends the connections. The next ones get their answers.
    pub fn cut(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // the client may have ended it
        }
        self.mute.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, lost: impl Fn() -> bool) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(to.shutdown(Shutdown::Write)?),
            _ if lost() => {}
            length => to.write_all(&buffer[..length])?,
        }
    }
}
