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

use crate::machine::moves_on;
use crate::request_log::RequestLog;

/// The network between one client and etcd, as the experiment controls it. It pauses each request
/// of the client until the experiment lets the request pass to etcd. Then it pauses etcd's response
/// until the experiment lets the response pass to the client.
pub struct Network {
    requests: mpsc::UnboundedReceiver<PausedRequest>,
    pauses: Arc<AtomicBool>,
    sent: RequestLog,
}

/// A request that the network has paused. If this is dropped, the request passes, and so does its
/// response.
pub struct PausedRequest {
    /// The name that [`RequestLog`] has for it.
    name: String,
    parked: ParkedRequest,
    go: oneshot::Sender<()>,
    response: oneshot::Receiver<PausedResponse>,
}

/// A request and its channel, until the request is sent.
type ParkedRequest = Arc<Mutex<Option<(Channel, Request<Body>)>>>;

fn take(parked: &ParkedRequest) -> Option<(Channel, Request<Body>)> {
    parked.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A response of etcd that the network has paused. If this is dropped, the response passes.
pub struct PausedResponse {
    go: oneshot::Sender<io::Error>,
}

impl Network {
    /// Waits for the client's next request. Returns `None` if the client was dropped.
    pub async fn request(&mut self) -> Option<PausedRequest> {
        loop {
            let request = self.requests.recv().await?;
            if !request.is_canceled() {
                return Some(request);
            } // the client no longer waits for the others
        }
    }

    /// Waits for etcd's response to the client's `nth` request from now on, counted from 1. Earlier
    /// requests and responses pass. Returns `None` if the client was dropped.
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

    /// Waits for the client's next request with one of these names. Other requests pass. Returns
    /// `None` if the client was dropped.
    pub async fn request_to(&mut self, names: &[&str]) -> Option<PausedRequest> {
        loop {
            let request = self.request().await?;
            if names.contains(&&*request.name) {
                return Some(request);
            }
        }
    }

    /// Waits for etcd's response to the client's next request with this name. Other requests pass.
    /// Returns `None` if the client was dropped.
    pub async fn response_to(&mut self, name: &str) -> Option<PausedResponse> {
        loop {
            let response = self.request_to(&[name]).await?.response().await;
            if response.is_some() {
                return response;
            }
        }
    }

    /// Returns the log of the requests. It goes on to grow.
    pub fn sent(&self) -> RequestLog {
        self.sent.clone()
    }

    /// Stops pausing, and lets pass what is paused. But a [`PausedRequest`] or [`PausedResponse`]
    /// that the experiment keeps passes only when it is dropped.
    pub fn open(&mut self) {
        moves_on();
        self.pauses.store(false, Ordering::Relaxed);
        while self.requests.try_recv().is_ok() {}
    }

    /// Begins to pause requests and responses again.
    pub fn pause(&mut self) {
        moves_on();
        self.pauses.store(true, Ordering::Relaxed);
    }
}

impl PausedRequest {
    /// Whether the client no longer waits for the response.
    pub fn is_canceled(&self) -> bool {
        self.go.is_closed()
    }

    /// Waits until the client no longer waits for the response.
    pub async fn canceled(&mut self) {
        self.go.closed().await;
    }

    /// Lets the request pass, and waits for etcd's response. Returns `None` if the client no longer
    /// waits for it, or has no connection.
    pub async fn response(self) -> Option<PausedResponse> {
        let _ = self.go.send(());
        self.response.await.ok()
    }

    /// Lets the request arrive at etcd even if the client no longer waits for it, like a request
    /// that was on its way for long. Waits for etcd's response, which is lost.
    pub async fn arrive_late(self) -> Result<()> {
        if let Some((mut channel, request)) = take(&self.parked) {
            let response = timeout(REQUEST_TIMEOUT, channel.call(request)).await;
            response.ok().and_then(Result::ok).context("a late request has not arrived")?;
        }
        Ok(())
    }
}

impl PausedResponse {
    /// Loses the response together with the connection, so the client notices at once.
    pub fn lose_connection(self) {
        let _ = self.go.send(ErrorKind::ConnectionReset.into()); // the client may no longer wait
    }
}

/// Returns a client of a server that the experiment has started, and the client's network.
///
/// # Errors
///
/// The same as those of [`connect_to`](crate::connect_to).
pub async fn connect_intercepted(server: SocketAddr) -> Result<(Client, Network)> {
    let (interceptor, mut network) = intercept();
    let client = connect_to_through([server.to_string()], interceptor).await?;
    network.pause();
    Ok((client, network))
}

/// Returns both ends of a network that pauses nothing yet.
fn intercept() -> (Interceptor, Network) {
    let (sender, requests) = mpsc::unbounded_channel();
    let (pauses, sent) = (Arc::new(AtomicBool::new(false)), RequestLog::default());
    let interceptor =
        Interceptor { requests: sender, pauses: Arc::clone(&pauses), sent: sent.clone() };
    (interceptor, Network { requests, pauses, sent })
}

/// The client's end of the network.
#[derive(Clone)]
struct Interceptor {
    requests: mpsc::UnboundedSender<PausedRequest>,
    pauses: Arc<AtomicBool>,
    sent: RequestLog,
}

impl BalancedChannelBuilder for Interceptor {
    type Error = Error;

    fn balanced_channel(
        self,
        size: usize,
    ) -> Result<(Channel, mpsc::Sender<Change<Uri, Endpoint>>), Error> {
        let (channel, endpoints) = Failover::default().balanced_channel(size)?;
        let intercepted = InterceptedChannel { channel, interceptor: self };
        Ok((Channel::Custom(BoxCloneSyncService::new(intercepted)), endpoints))
    }
}

/// A channel to etcd that goes through the network.
#[derive(Clone)]
struct InterceptedChannel {
    channel: Channel,
    interceptor: Interceptor,
}

impl Service<Request<Body>> for InterceptedChannel {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, context: &mut Context) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Only the channel that was polled until it was ready may be used.
        let other = self.channel.clone();
        let mut channel = mem::replace(&mut self.channel, other);
        let interceptor = self.interceptor.clone();
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let sent = interceptor.sent.begin(&name);
        Box::pin(async move {
            let _sent = sent; // until the response has come, or nobody waits for it
            if !interceptor.pauses.load(Ordering::Relaxed) {
                return channel.call(request).await;
            }
            let (go, may_go) = oneshot::channel();
            let (tell, paused) = oneshot::channel();
            let parked = Arc::new(Mutex::new(Some((channel, request))));
            // Ignores errors: an experiment that has ended pauses nothing.
            let own = Arc::clone(&parked);
            let _ = interceptor.requests.send(PausedRequest {
                name,
                parked: own,
                go,
                response: paused,
            });
            let _ = may_go.await;
            let Some((mut channel, request)) = take(&parked) else {
                return pending().await; // it arrived late, and nobody waits for the response
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
