use std::future::pending;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use common::{Failover, REQUEST_TIMEOUT, connect_to_through};
use etcd_client::{BalancedChannelBuilder, Channel, Client, Error};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::transport::Endpoint;
use tonic::transport::channel::Change;
use tower::util::BoxCloneSyncService;

use crate::sent::Sent;

/// The wire between one client and etcd, in the hands of the experiment. It first pauses each request
/// of the client until the experiment lets it pass to etcd, and then etcd's response until the
/// experiment lets it pass to the client.
pub struct Wire {
    requests: mpsc::UnboundedReceiver<PausedRequest>,
    pauses: Arc<AtomicBool>,
    sent: Sent,
}

/// A request that the wire has paused. When this is dropped, the request passes, and its response is
/// not paused.
pub struct PausedRequest {
    /// As in [`Sent`].
    name: String,
    held: Held,
    go: oneshot::Sender<()>,
    response: oneshot::Receiver<PausedResponse>,
}

/// A request, and the channel that it takes. It is there until it has been sent.
type Held = Arc<Mutex<Option<(Channel, Request<Body>)>>>;

fn take(held: &Held) -> Option<(Channel, Request<Body>)> {
    held.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A response of etcd that the wire has paused. It passes when this is dropped.
pub struct PausedResponse {
    go: oneshot::Sender<io::Error>,
}

impl Wire {
    /// Waits for the client's next request. Returns `None` when no client is left.
    pub async fn request(&mut self) -> Option<PausedRequest> {
        loop {
            let request = self.requests.recv().await?;
            if !request.is_given_up() {
                return Some(request);
            } // else the client has given it up
        }
    }

    /// Waits for etcd's response to the client's `nth` request from now on, counted from 1. Those before
    /// pass. Returns `None` when no client is left.
    pub async fn response(&mut self, nth: usize) -> Option<PausedResponse> {
        let mut count = 0;
        loop {
            let response = self.request().await?.response().await;
            count += usize::from(response.is_some());
            if count == nth {
                return response;
            }
        }
    }

    /// Waits for the client's next request of one of these names. Others pass. Returns `None` when no
    /// client is left.
    pub async fn request_to(&mut self, names: &[&str]) -> Option<PausedRequest> {
        loop {
            let request = self.request().await?;
            if names.contains(&&*request.name) {
                return Some(request);
            }
        }
    }

    /// Waits for etcd's response to the client's next request of this name. Others pass. Returns `None`
    /// when no client is left.
    pub async fn response_to(&mut self, name: &str) -> Option<PausedResponse> {
        loop {
            let response = self.request_to(&[name]).await?.response().await;
            if response.is_some() {
                return response;
            }
        }
    }

    /// Returns the names of the requests, those of the future too.
    pub fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Pauses nothing any more. Lets everything pass that is paused, except for what the experiment has
    /// in its hands: that passes when it is dropped.
    pub fn open(&mut self) {
        self.pauses.store(false, Ordering::Relaxed);
        while self.requests.try_recv().is_ok() {}
    }

    /// Pauses requests and responses again.
    pub fn pause(&mut self) {
        self.pauses.store(true, Ordering::Relaxed);
    }
}

impl PausedRequest {
    /// Whether the client does not wait for the response any more.
    pub fn is_given_up(&self) -> bool {
        self.go.is_closed()
    }

    /// Waits until the client does not wait for the response any more.
    pub async fn given_up(&mut self) {
        self.go.closed().await;
    }

    /// Lets the request pass and waits for etcd's response. Returns `None` when the client has given
    /// up the request, or has no connection.
    pub async fn response(self) -> Option<PausedResponse> {
        let _ = self.go.send(());
        self.response.await.ok()
    }

    /// Lets the request arrive at etcd although the client has given it up, as when it was on its way for
    /// long. Waits for etcd's response, which is lost.
    pub async fn arrive_late(self) -> Result<()> {
        if let Some((mut channel, request)) = take(&self.held) {
            let response = timeout(REQUEST_TIMEOUT, channel.call(request)).await;
            response.ok().and_then(Result::ok).context("a late request has not arrived")?;
        }
        Ok(())
    }
}

impl PausedResponse {
    /// Loses the response as when the connection ends: the client learns that at once.
    pub fn lose_connection(self) {
        let _ = self.go.send(ErrorKind::ConnectionReset.into()); // it may have given up the request
    }
}

/// Returns a client of a server that the experiment has started, and its wire.
///
/// # Errors
///
/// As [`connect_to`](crate::connect_to).
pub async fn connect_by_wire_to(server: SocketAddr) -> Result<(Client, Wire)> {
    let (tap, mut wire) = tap();
    let client = connect_to_through([server.to_string()], tap).await?;
    wire.pause();
    Ok((client, wire))
}

/// Returns both ends of a wire that pauses nothing yet: with a user name, a client asks for a token
/// when it connects.
fn tap() -> (Tap, Wire) {
    let (sender, requests) = mpsc::unbounded_channel();
    let (pauses, sent) = (Arc::new(AtomicBool::new(false)), Sent::default());
    let tap = Tap { requests: sender, pauses: Arc::clone(&pauses), sent: sent.clone() };
    (tap, Wire { requests, pauses, sent })
}

/// The client's end of the wire.
#[derive(Clone)]
struct Tap {
    requests: mpsc::UnboundedSender<PausedRequest>,
    pauses: Arc<AtomicBool>,
    sent: Sent,
}

impl BalancedChannelBuilder for Tap {
    type Error = Error;

    fn balanced_channel(
        self,
        size: usize,
    ) -> Result<(Channel, mpsc::Sender<Change<Uri, Endpoint>>), Error> {
        let (channel, endpoints) = Failover::default().balanced_channel(size)?;
        let tapped = Tapped { channel, tap: self };
        Ok((Channel::Custom(BoxCloneSyncService::new(tapped)), endpoints))
    }
}

/// A channel to etcd behind the wire.
#[derive(Clone)]
struct Tapped {
    channel: Channel,
    tap: Tap,
}

impl Service<Request<Body>> for Tapped {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, context: &mut Context) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The channel that has said that it is ready is the one to use.
        let other = self.channel.clone();
        let mut channel = mem::replace(&mut self.channel, other);
        let tap = self.tap.clone();
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        tap.sent.with(|names| names.push(name.clone()));
        Box::pin(async move {
            if !tap.pauses.load(Ordering::Relaxed) {
                return channel.call(request).await;
            }
            let (go, may_go) = oneshot::channel();
            let (tell, paused) = oneshot::channel();
            let held = Arc::new(Mutex::new(Some((channel, request))));
            // Neither fails: an experiment that has ended pauses nothing.
            let own = Arc::clone(&held);
            let _ = tap.requests.send(PausedRequest { name, held: own, go, response: paused });
            let _ = may_go.await;
            let Some((mut channel, request)) = take(&held) else {
                return pending().await; // only after the client has given it up
            };
            let response = channel.call(request).await;
            let (go, may_go) = oneshot::channel();
            if response.is_ok()
                && tell.send(PausedResponse { go }).is_ok()
                && let Ok(lost) = may_go.await
            {
                return Err(lost.into());
            }
            response
        })
    }
}
