//! Logging in again after a change of users or roles.

use etcd_client::{BalancedChannelBuilder, Channel, Error};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Response, Uri};
use tonic::transport::Endpoint;
use tonic::transport::channel::Change;
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::error::is_outdated;

/// A channel whose client logs in again and repeats its request after a change of users or roles
/// has outdated its token. (Without this, a JWT would stay outdated until it expires.)
///
/// etcd-client does the same for an expired token, when etcd returns the status `Unauthenticated`.
/// For an outdated token etcd returns another status, which this channel translates.
#[derive(Clone)]
pub(crate) struct LoginRetry<B>(pub(crate) B);

impl<B: BalancedChannelBuilder<Error = Error>> BalancedChannelBuilder for LoginRetry<B> {
    type Error = Error;

    fn balanced_channel(
        self,
        size: usize,
    ) -> Result<(Channel, mpsc::Sender<Change<Uri, Endpoint>>), Error> {
        let (channel, endpoints) = self.0.balanced_channel(size)?;
        let channel = channel.map_response(translate);
        Ok((Channel::Custom(BoxCloneSyncService::new(channel)), endpoints))
    }
}

fn translate(mut response: Response<Body>) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    if status.is_some_and(|status| is_outdated(status.message())) {
        let code = HeaderValue::from(Code::Unauthenticated as i32);
        response.headers_mut().insert("grpc-status", code);
    }
    response
}
