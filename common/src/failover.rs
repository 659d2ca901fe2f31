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
/// (etcd-client's own channel takes turns among all members, even if some are down.)
///
/// A member has failed if a request to it ends with a connection error before the response begins,
/// if the caller gives up before that, or if the member responds that it can't serve, for instance
/// because it has no leader or is a learner.
///
/// No request is carried out twice. The next member gets a failed request only if nothing has read
/// the body of the request, because then the request certainly never left this program. Any other
/// failed request returns its error.
///
/// Clients that are made with clones of one `Failover` share their connections, so they must have
/// the same options.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    /// The connections by endpoint. etcd closes a connection after about 20 s without a request,
    /// and the next request opens it again.
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
        let members = SharedMembers(Arc::new(Mutex::new(members)));
        Ok((Channel::Custom(BoxCloneSyncService::new(members)), sender))
    }
}

struct Members {
    /// The endpoints that etcd-client announces and withdraws.
    changes: mpsc::Receiver<Change<Uri, Endpoint>>,
    connections: Arc<Mutex<HashMap<Uri, transport::Channel>>>,
    channels: Vec<(Uri, transport::Channel)>,
    /// The number of failures so far. Modulo the number of members, it is the index of the member
    /// that gets the next request.
    turn: usize,
}

#[derive(Clone)]
struct SharedMembers(Arc<Mutex<Members>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedMembers {
    /// Begins an attempt with the member whose turn it is. Returns it with the member's channel and
    /// the number of members.
    fn begin_attempt(&self) -> Option<(Attempt, transport::Channel, usize)> {
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

/// A request to a member. If it is dropped without a response, the next member gets its turn.
struct Attempt {
    members: SharedMembers,
    turn: usize,
    responded: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut members = lock(&self.members.0);
        // If the turn has moved on, another attempt has already counted the failure of this member.
        if !self.responded && members.turn == self.turn {
            members.turn += 1;
        }
    }
}

impl Service<Request<Body>> for SharedMembers {
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
                let Some((mut attempt, channel, count)) = members.begin_attempt() else {
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

/// Whether a member responds that it can't serve: it has no leader, it is a learner, or it isn't an
/// etcd at all.
fn cannot_serve(response: &Response<Body>) -> bool {
    let refuses = |status: Status| {
        matches!(status.code(), Code::Unavailable | Code::Unimplemented)
            || status.message().ends_with("for learner")
    };
    !response.status().is_success()
        || Status::from_header_map(response.headers()).is_some_and(refuses)
}

/// Wraps a body so that the receiver gets it back if it is dropped before anything has read it.
fn lend(body: Body) -> (Body, oneshot::Receiver<Body>) {
    let (sender, back) = oneshot::channel();
    (Body::new(LentBody { body, back: Some(sender) }), back)
}

struct LentBody {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for LentBody {
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

impl Drop for LentBody {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let _ = back.send(mem::take(&mut self.body)); // the caller may have given up
        }
    }
}
