//! A network with faults, between clients and a server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// A proxy between clients and a server of any kind. It can be [cut](Proxy::cut) like a network,
/// and it can pause or lose the data in one direction.
///
/// Paused data isn't lost: it arrives, in order, when the proxy is [mended](Proxy::mend). The end
/// of a connection is paused in the same way.
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    /// The last generation is the present one. Each [`disconnect`](Proxy::disconnect) adds one.
    generations: Mutex<Vec<Generation>>,
    changed: Condvar,
}

/// The connections between one disconnect and the next.
#[derive(Default)]
struct Generation {
    clients: Vec<TcpStream>,
    /// The fates of requests and of responses.
    fates: [Fate; 2],
    has_paused: bool,
    /// Whether new connections are ended at once.
    refuses: bool,
    /// By how much requests and responses are delayed.
    delays: [Duration; 2],
}

const REQUESTS: usize = 0;
const RESPONSES: usize = 1;

#[derive(Clone, Copy, Default, PartialEq)]
enum Fate {
    #[default]
    Pass,
    Pause,
    Lose,
}

impl Proxy {
    /// Starts a proxy to `server`. It works until the program ends.
    ///
    /// # Errors
    ///
    /// The system gives it no port to listen on.
    pub fn to(server: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let network = Arc::new(Network::default());
        network.generations().push(Generation::default());
        let proxy = Proxy { address: listener.local_addr()?, network: Arc::clone(&network) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // If the server refuses the connection, this drops the client's end of it.
                let _ = network.connect(client, server);
            }
        });
        Ok(proxy)
    }

    /// Returns the address at which clients reach the server through this proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops passing data on, without either side noticing.
    pub fn cut(&self) {
        self.change(|generation| generation.fates = [Fate::Pause; 2]);
    }

    /// Pauses the data that clients send.
    pub fn pause_requests(&self) {
        self.change(|generation| generation.fates[REQUESTS] = Fate::Pause);
    }

    /// Pauses the data that the server sends.
    pub fn pause_responses(&self) {
        self.change(|generation| generation.fates[RESPONSES] = Fate::Pause);
    }

    /// Loses the data that the server sends.
    pub fn lose_responses(&self) {
        self.change(|generation| generation.fates[RESPONSES] = Fate::Lose);
    }

    /// Delays the data that the server sends by `delay`.
    pub fn delay_responses(&self, delay: Duration) {
        self.change(|generation| generation.delays[RESPONSES] = delay);
    }

    /// Whether the proxy has paused any data.
    pub fn has_paused(&self) -> bool {
        self.network.generations().last().is_some_and(|generation| generation.has_paused)
    }

    /// Lets everything pass again, the paused data first.
    pub fn mend(&self) {
        for generation in self.network.generations().iter_mut() {
            generation.fates = [Fate::Pass; 2];
            generation.has_paused = false;
            generation.refuses = false;
        }
        self.network.changed.notify_all();
    }

    /// Ends the connections for the clients but not for the server, which still gets the paused
    /// data when the proxy is mended. On later connections everything passes.
    pub fn disconnect(&self) {
        self.renew(Generation::default());
    }

    /// Ends the connections as [`disconnect`](Proxy::disconnect) does, and each new one at once, as
    /// if no server were there, until the proxy is [mended](Proxy::mend).
    pub fn refuse(&self) {
        self.renew(Generation { refuses: true, ..Generation::default() });
    }

    fn renew(&self, next: Generation) {
        let mut generations = self.network.generations();
        for client in generations.iter().flat_map(|generation| &generation.clients) {
            let _ = client.shutdown(Shutdown::Write); // fails if the client has ended it
        }
        generations.push(next);
    }

    fn change(&self, change: impl FnMut(&mut Generation)) {
        self.network.generations().last_mut().into_iter().for_each(change);
    }
}

impl Network {
    fn generations(&self) -> MutexGuard<'_, Vec<Generation>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuses(&self) -> bool {
        self.generations().last().is_some_and(|generation| generation.refuses)
    }

    fn connect(self: &Arc<Self>, client: TcpStream, server: SocketAddr) -> Result<()> {
        if self.refuses() {
            return Ok(()); // this drops the connection
        }
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let mut generations = self.generations();
        let own = generations.len() - 1;
        if generations[own].refuses {
            return Ok(()); // since a moment ago
        }
        generations[own].clients.push(client.try_clone()?);
        for (way, from, to) in
            [(REQUESTS, client.try_clone()?, server.try_clone()?), (RESPONSES, server, client)]
        {
            let network = Arc::clone(self);
            thread::spawn(move || network.pass(own, way, from, to));
        }
        Ok(())
    }

    fn pass(&self, own: usize, way: usize, mut from: TcpStream, mut to: TcpStream) {
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut count = 1;
            while count > 0 {
                count = from.read(&mut bytes).unwrap_or(0); // 0 is the end; treat an error as an end
                let _ = sender.send((Instant::now(), bytes[..count].to_vec()));
            }
        });
        for (came, bytes) in chunks {
            let paused = |generations: &mut Vec<Generation>| {
                let pause = generations[own].fates[way] == Fate::Pause;
                generations[own].has_paused |= pause && !bytes.is_empty();
                pause
            };
            let generations = self.changed.wait_while(self.generations(), paused);
            let generations = generations.unwrap_or_else(PoisonError::into_inner);
            let (fate, is_present) = (generations[own].fates[way], own == generations.len() - 1);
            let delay = generations[own].delays[way];
            drop(generations);
            thread::sleep((came + delay).saturating_duration_since(Instant::now()));
            if bytes.is_empty() {
                if is_present {
                    let _ = to.shutdown(Shutdown::Write); // fails if that side has ended
                }
            } else if fate == Fate::Pass {
                let _ = to.write_all(&bytes); // if it fails, the other direction ends, too
            }
        }
    }
}
