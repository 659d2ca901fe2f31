use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Stands between clients and etcd, and can lose or hold up what they send.
pub struct Proxy {
    address: SocketAddr,
    wires: Arc<Mutex<Wires>>,
}

/// The connections since the last cut, and what becomes of what is sent on them.
#[derive(Default)]
struct Wires {
    requests: Arc<AtomicU8>,
    answers: Arc<AtomicU8>,
    clients: Vec<TcpStream>,
}

const PASS: u8 = 0;
const LOSE: u8 = 1;
const HOLD: u8 = 2;
/// As `HOLD`, and there is something.
const HOLDS: u8 = 3;

/// What is held up, until this is released.
pub struct Held(Arc<AtomicU8>);

impl Held {
    /// Whether anything has come that could be held up.
    pub fn holds(&self) -> bool {
        self.0.load(SeqCst) == HOLDS
    }

    /// Lets everything pass.
    pub fn release(self) {
        self.0.store(PASS, SeqCst);
    }
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Proxy { address: listener.local_addr()?, wires: Arc::default() };
        let wires = proxy.wires.clone();
        thread::spawn(move || -> Result<()> {
            loop {
                let (client, _) = listener.accept()?;
                let server = TcpStream::connect(server)?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                let (client2, server2) = (client.try_clone()?, server.try_clone()?);
                let mut wires = wires.lock().unwrap_or_else(PoisonError::into_inner);
                wires.clients.push(client.try_clone()?);
                let (requests, answers) = (wires.requests.clone(), wires.answers.clone());
                thread::spawn(move || pass(client, server, &requests));
                thread::spawn(move || pass(server2, client2, &answers));
            }
        });
        Ok(proxy)
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where clients reach etcd through it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on etcd gets what clients send, and they get nothing, until the next cut.
    pub fn swallow_answers(&self) {
        self.wires().answers.store(LOSE, SeqCst);
    }

    /// Holds up what etcd sends.
    pub fn hold_answers(&self) -> Held {
        let answers = self.wires().answers.clone();
        answers.store(HOLD, SeqCst);
        Held(answers)
    }

    /// Holds up what clients send.
    pub fn hold_requests(&self) -> Held {
        let requests = self.wires().requests.clone();
        requests.store(HOLD, SeqCst);
        Held(requests)
    }

    /// Ends the connections for the clients; what is held up still gets to etcd. On the next
    /// ones everything passes.
    pub fn cut(&self) {
        for client in std::mem::take(&mut *self.wires()).clients {
            let _ = client.shutdown(Shutdown::Write); // the client may have ended it
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, wire: &AtomicU8) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(()); // etcd still gets what is held up
        }
        let _ = wire.compare_exchange(HOLD, HOLDS, SeqCst, SeqCst);
        while wire.load(SeqCst) == HOLDS {
            thread::sleep(Duration::from_millis(1));
        }
        if wire.load(SeqCst) == PASS {
            to.write_all(&buffer[..length])?;
        }
    }
}
