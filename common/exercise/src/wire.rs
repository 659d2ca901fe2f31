use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use anyhow::Result;
use common::{Failover, connect_through};
use etcd_client::{BalancedChannelBuilder, Channel, Client, Error};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::transport::Endpoint;
use tonic::transport::channel::Change;
use tower::util::BoxCloneSyncService;

/// The wire between one client and etcd, in the hands of the experiment. At first
/// it holds each request of the client, until the experiment lets etcd have it,
/// and then etcd's answer, until the experiment lets the client have that.
pub struct Wire {
    calls: mpsc::UnboundedReceiver<Call>,
    holds: Arc<AtomicBool>,
}

/// A request that the wire holds. Dropped, it goes on and is not held again.
pub struct Call {
    go: oneshot::Sender<()>,
    answer: oneshot::Receiver<Answer>,
}

/// An answer of etcd that the wire holds, until this is dropped.
pub struct Answer {
    _go: oneshot::Sender<()>,
}

impl Wire {
    /// The client's next request; `None` when no client is left that could make one.
    pub async fn call(&mut self) -> Option<Call> {
        loop {
            let call = self.calls.recv().await?;
            if !call.go.is_closed() {
                return Some(call);
            } // else the client has given it up
        }
    }

    /// Etcd's answer to the client's next request, or to the `nth` from now on, the
    /// others having passed; `None` when no client is left that could make one.
    pub async fn answer(&mut self, nth: usize) -> Option<Answer> {
        let mut count = 0;
        loop {
            let answer = self.call().await?.answer().await;
            count += usize::from(answer.is_some());
            if count == nth {
                return answer;
            }
        }
    }

    /// Lets go of all that it holds, and holds nothing any more.
    pub fn open(&mut self) {
        self.holds.store(false, Ordering::Relaxed);
        while self.calls.try_recv().is_ok() {}
    }

    /// Holds requests and answers again.
    pub fn hold(&mut self) {
        self.holds.store(true, Ordering::Relaxed);
    }
}

impl Call {
    /// Lets etcd have the request and waits for its answer; `None` when the client
    /// has given up the request.
    pub async fn answer(self) -> Option<Answer> {
        let _ = self.go.send(());
        self.answer.await.ok()
    }
}

/// A client of the chapters' etcd, and its wire.
pub(crate) async fn connect() -> Result<(Client, Wire)> {
    let (tap, mut wire) = tap();
    let client = connect_through(tap).await?;
    wire.hold();
    Ok((client, wire))
}

/// A client of this server, and its wire.
pub(crate) async fn connect_to(server: SocketAddr) -> Result<(Client, Wire)> {
    let (tap, mut wire) = tap();
    let endpoints = [server.to_string()];
    let client = Client::connect_with_balanced_channel(endpoints, None, tap);
    let client = client.await?;
    wire.hold();
    Ok((client, wire))
}

/// Both ends of a wire that holds nothing yet: with a user name, a client asks for a token when
/// it connects.
fn tap() -> (Tap, Wire) {
    let (sender, calls) = mpsc::unbounded_channel();
    let holds = Arc::new(AtomicBool::new(false));
    (Tap { calls: sender, holds: Arc::clone(&holds) }, Wire { calls, holds })
}

/// The client's end of the wire.
#[derive(Clone)]
struct Tap {
    calls: mpsc::UnboundedSender<Call>,
    holds: Arc<AtomicBool>,
}

impl BalancedChannelBuilder for Tap {
    type Error = Error;

    fn balanced_channel(
        self,
        size: usize,
    ) -> Result<(Channel, mpsc::Sender<Change<Uri, Endpoint>>), Error> {
        let (channel, endpoints) = Failover.balanced_channel(size)?;
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
        // The channel that said it is ready is the one to use.
        let other = self.channel.clone();
        let mut channel = mem::replace(&mut self.channel, other);
        let tap = self.tap.clone();
        Box::pin(async move {
            if !tap.holds.load(Ordering::Relaxed) {
                return channel.call(request).await;
            }
            let (go, may_go) = oneshot::channel();
            let (tell, answer) = oneshot::channel();
            // Neither fails: an experiment that has ended holds nothing.
            let _ = tap.calls.send(Call { go, answer });
            let _ = may_go.await;
            let response = channel.call(request).await;
            let (go, may_go) = oneshot::channel();
            if tell.send(Answer { _go: go }).is_ok() {
                let _ = may_go.await;
            }
            response
        })
    }
}
