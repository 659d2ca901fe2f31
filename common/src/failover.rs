//! The channel between a client and the members of a cluster.

use std::collections::HashMap;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use etcd_client::{BalancedChannelBuilder, Channel, Error};
use http_body::Frame;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{BoxFuture, Bytes, Service, StdError};
use tonic::transport::channel::Change;
use tonic::transport::{self, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// A channel that stays with one member until that member fails, and then goes on to the next.
/// (etcd-client's own channel takes turns with all members, also with those that are down.)
///
/// A member has failed when a request to it ends with a connection error before the response begins,
/// when the caller gives up before that, or when the member responds that it cannot serve, for
/// instance without a leader or as a learner.
///
/// No request is carried out twice. A failed request is sent to the next member only if nothing
/// has read its body, so that it was certainly not sent before. Any other failed request returns its
/// error.
///
/// Clients that are made with clones of one `Failover` share their connections, so they must have the
/// same options.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    /// etcd closes one that carries no request after some 20 s. The next request connects again.
    connections: Arc<Mutex<HashMap<Uri, transport::Channel>>>,
}

impl BalancedChannelBuilder for Failover {
    type Error = Error;

    fn balanced_channel(
        self,
        _: usize,
    ) -> Result<(Channel, mpsc::Sender<Change<Uri, Endpoint>>), Error> {
        // etcd-client announces all endpoints before its first request, and would wait for room.
        let (sender, changes) = mpsc::channel(Semaphore::MAX_PERMITS);
        let connections = self.connections;
        let members = Members { changes, connections, channels: Vec::new(), turn: 0 };
        let members = Shared(Arc::new(Mutex::new(members)));
        Ok((Channel::Custom(BoxCloneSyncService::new(members)), sender))
    }
}

struct Members {
    /// The endpoints, as etcd-client announces them.
    changes: mpsc::Receiver<Change<Uri, Endpoint>>,
    connections: Arc<Mutex<HashMap<Uri, transport::Channel>>>,
    channels: Vec<(Uri, transport::Channel)>,
    /// The number of failures so far, which says whose turn it is.
    turn: usize,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Members>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Begins an attempt with the member whose turn it is; also returns how many members there are.
    fn attempt(&self) -> Option<(Attempt, transport::Channel, usize)> {
        let mut members = lock(&self.0);
        while let Ok(change) = members.changes.try_recv() {
            let (Change::Insert(uri, _) | Change::Remove(uri)) = &change;
            members.channels.retain(|(known, _)| known != uri);
            if let Change::Insert(uri, endpoint) = change {
                let channel = lock(&members.connections)
                    .entry(uri.clone())
                    .or_insert_with(|| endpoint.connect_lazy())
                    .clone();
                members.channels.push((uri, channel));
            }
        }
        let (turn, count) = (members.turn, members.channels.len());
        let (_, channel) = members.channels.get(turn.checked_rem(count)?)?;
        let attempt = Attempt { members: self.clone(), turn, responded: false };
        Some((attempt, channel.clone(), count))
    }
}

/// A request to a member. If it is dropped without a response, it is the next member's turn.
struct Attempt {
    members: Shared,
    turn: usize,
    responded: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut members = lock(&self.members.0);
        // Otherwise another attempt has counted this failure already.
        if !self.responded && members.turn == self.turn {
            members.turn += 1;
        }
    }
}

impl Service<Request<Body>> for Shared {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let members = self.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let head = Request::from_parts(head, ());
            let mut attempts = 0;
            loop {
                let Some((mut attempt, channel, count)) = members.attempt() else {
                    return Err("no endpoints".into());
                };
                attempts += 1;
                let (lent, mut back) = lend(body);
                match channel.oneshot(head.clone().map(|()| lent)).await {
                    Ok(response) => {
                        attempt.responded = !cannot_serve(&response);
                        return Ok(response);
                    }
                    Err(error) => match back.try_recv() {
                        Ok(unread) if attempts < count => body = unread,
                        _ => return Err(error.into()),
                    },
                }
            }
        })
    }
}

/// Whether a member responds that it cannot serve: it has no leader, it is a learner, or it is not
/// an etcd at all.
fn cannot_serve(response: &Response<Body>) -> bool {
    let refuses = |status: Status| {
        matches!(status.code(), Code::Unavailable | Code::Unimplemented)
            || status.message().ends_with("for learner")
    };
    !response.status().is_success()
        || Status::from_header_map(response.headers()).is_some_and(refuses)
}

/// Returns a body that sends itself back when it is dropped, if nothing has read it.
fn lend(body: Body) -> (Body, oneshot::Receiver<Body>) {
    let (sender, back) = oneshot::channel();
    (Body::new(Lent { body, back: Some(sender) }), back)
}

struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.back = None;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let _ = back.send(mem::take(&mut self.body)); // the caller may have given up
        }
    }
}
