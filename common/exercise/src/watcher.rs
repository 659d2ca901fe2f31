use std::time::Duration;

use anyhow::Result;
use common::REQUEST_TIMEOUT;
use etcd_client::Client;
use etcd_server::{Proxy, Server};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::etcd::Etcd;
use crate::network::{Network, connect_intercepted};
use crate::request_log::RequestLog;
use crate::say;
use crate::stage::Fault;
use crate::verdict::check_running;

/// How long it may take until the program shows a change. etcd sends an event from the past within
/// a tenth of a second.
pub const SHOW_LIMIT: Duration = Duration::from_secs(3);

/// How long to wait for an older state that comes after the newest one by mistake.
const WAIT_FOR_OLDER: Duration = Duration::from_millis(300);

/// How long the server is away when it restarts.
const AWAY: Duration = Duration::from_millis(500);

/// The faults that meet a program which begins again because the history was compacted: one at its
/// first or second request, or none.
pub const FAULTS_AT_RETURN: [Option<(Fault, usize)>; 4] =
    [Some((Fault::Overtaken, 1)), Some((Fault::Overtaken, 2)), Some((Fault::RequestLost, 2)), None];

/// A program that watches and never returns, its network, and everything that it has shown.
pub struct Watcher<T> {
    pub link: Proxy,
    pub network: Network,
    pub sent: RequestLog,
    server: Server,
    task: JoinHandle<Result<()>>,
    shown: watch::Receiver<Vec<T>>,
}

impl<T: Clone + 'static> Watcher<T> {
    /// Starts a program. It gets a client whose requests are paused, the log of its requests, and a
    /// function to show a state.
    pub async fn start<F: Future<Output = Result<()>> + 'static>(
        server: Server,
        program: impl FnOnce(Client, RequestLog, Box<dyn Fn(T)>) -> F,
    ) -> Result<Watcher<T>> {
        let link = Proxy::to(server.address())?;
        let (client, network) = connect_intercepted(link.address()).await?;
        let (sent, (sender, shown)) = (network.sent(), watch::channel(Vec::new()));
        let show = Box::new(move |new| sender.send_modify(|shown| shown.push(new)));
        let task = spawn_local(program(client, sent.clone(), show));
        Ok(Watcher { link, network, sent, server, task, shown })
    }

    /// Waits until the last state that the program has shown is this one. Returns `false` if that
    /// takes longer than [`SHOW_LIMIT`].
    pub async fn shows(&mut self, is_this: impl Fn(&T) -> bool) -> bool {
        let is_last = |shown: &Vec<T>| shown.last().is_some_and(&is_this);
        timeout(SHOW_LIMIT, self.shown.wait_for(is_last)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Waits for 0.3 s. Returns every state that the program has shown by then.
    pub async fn shown(&self) -> Vec<T> {
        sleep(WAIT_FOR_OLDER).await;
        self.shown.borrow().clone()
    }

    /// Returns *broken* if the program has ended.
    pub async fn check_running(&mut self) -> Result<()> {
        check_running(&mut self.task, "it has ended", "what ends your loops").await
    }

    /// Restarts the server, and pauses the requests. Returns *broken* if the program doesn't pause
    /// between two requests while the server is away.
    pub async fn restart(mut self, etcd: &mut Etcd) -> Result<Watcher<T>> {
        let before = self.sent.count_all();
        self.server.kill()?;
        sleep(AWAY).await;
        self.sent.check_pauses("it", before)?;
        self.network.pause();
        self.server = etcd.restart(self.server).await?;
        Ok(self)
    }

    /// Loses the connection, and pauses the requests that the program sends next.
    pub fn disconnect(&mut self) {
        self.network.pause();
        self.link.disconnect();
    }

    /// Lets the program come back, with a fault at its `nth` request if it sends that many.
    /// `change` changes something and describes it.
    pub async fn come_back(
        &mut self,
        fault: Option<(Fault, usize)>,
        change: impl AsyncFnOnce() -> Result<String>,
    ) -> Result<()> {
        match fault {
            Some((Fault::RequestLost, nth)) => {
                say!("your request {nth} after that is lost")?;
                self.network.lose(nth).await?;
            }
            Some((_, nth)) => {
                let response = timeout(REQUEST_TIMEOUT, self.network.response(nth)).await;
                if let Ok(Some(_response)) = response {
                    let change = change().await?;
                    say!("{change} when etcd has responded to your request {nth}")?;
                }
            }
            None => {}
        }
        self.network.open();
        Ok(())
    }
}
