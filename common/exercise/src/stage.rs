use std::time::Duration;

use anyhow::Result;
use common::{NO_LIMIT, REQUEST_TIMEOUT};
use tokio::time::timeout;

use crate::network::{Network, PausedRequest, PausedResponse};
use crate::request_log::GET_OR_WATCH;
use crate::verdict::too_slow;

/// How long an answer may wait for a response that was lost.
const LIMIT: Duration = Duration::from_secs(5);

/// What happens to one request of a client.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing is lost, but others act while the response is on its way.
    Overtaken,
    /// The request never arrives.
    RequestLost,
    /// The response never arrives, although etcd has carried out the request.
    ResponseLost,
    /// The response is lost together with the connection, so the client notices at once.
    ConnectionLost,
    /// The request arrives after the client's next one.
    Late,
}

/// The outcome of [`Network::play`]. It keeps the lost request or response until it is dropped.
pub struct Played<T> {
    /// What the client returned.
    pub said: T,
    /// Whether the client sent the request that the fault was meant for.
    pub is_staged: bool,
    request: Option<PausedRequest>,
    _response: Option<PausedResponse>,
}

impl<T> Played<T> {
    /// Whether the client still waits for the response to a request that was lost.
    pub fn waits(&self) -> bool {
        self.request.as_ref().is_some_and(|request| !request.is_canceled())
    }

    /// Lets the request that was lost arrive after all.
    pub async fn arrive_late(&mut self) -> Result<()> {
        match self.request.take() {
            Some(request) => request.arrive_late().await,
            None => Ok(()),
        }
    }
}

impl Network {
    /// Runs a client, with a fault at its `nth` request, counted from 1. Then `others` act, and the
    /// network is opened.
    ///
    /// A client that waits more than 5 s for a lost response is *broken*. `client` must own its
    /// `Client`, so that the network notices when it is done.
    pub async fn play<T>(
        &mut self,
        fault: Fault,
        nth: usize,
        client: impl Future<Output = Result<T>>,
        others: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Played<Result<T>>> {
        let limit = if fault == Fault::Overtaken { NO_LIMIT } else { LIMIT };
        let Played { said, is_staged, request, _response } =
            self.play_for(limit, fault, nth, client, others).await?;
        match said {
            Some(said) => Ok(Played { said, is_staged, request, _response }),
            None => still_waits(limit, "which of your requests has no limit"),
        }
    }

    /// Runs a client as [`play`](Network::play) does, with another limit. If the client takes
    /// longer, `said` is `None`, and the caller judges that.
    pub async fn play_for<T>(
        &mut self,
        limit: Duration,
        fault: Fault,
        nth: usize,
        client: impl Future<Output = Result<T>>,
        others: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Played<Option<Result<T>>>> {
        let interfere = async {
            for _ in 1..nth {
                self.response(1).await;
            }
            let (mut request, mut response) = match fault {
                Fault::RequestLost | Fault::Late => (self.request().await, None),
                _ => (None, self.response(1).await),
            };
            let is_staged = request.is_some() || response.is_some();
            if fault == Fault::Late
                && let Some(request) = request.take()
            {
                // A client that has given up sends no other request, but may keep its connection.
                let next = timeout(LIMIT, self.response(1)).await;
                request.arrive_late().await?;
                drop(next);
            }
            if is_staged {
                others().await?;
            }
            self.open();
            match fault {
                Fault::Overtaken => response = None,
                Fault::ConnectionLost => {
                    response.take().into_iter().for_each(PausedResponse::lose_connection);
                }
                _ => {}
            }
            anyhow::Ok((is_staged, request, response))
        };
        let (said, interfered) = tokio::join!(timeout(limit, client), interfere);
        let (is_staged, request, _response) = interfered?;
        Ok(Played { said: said.ok(), is_staged, request, _response })
    }

    /// Runs a client. While each response is on its way, `others` act, and get its number, counted
    /// from 1. Returns what the client returned, and how many responses it got. `client` must own
    /// its `Client`, so that the network notices when it is done.
    pub async fn overtake_each<T>(
        &mut self,
        client: impl Future<Output = Result<T>>,
        mut others: impl AsyncFnMut(usize) -> Result<()>,
    ) -> Result<(T, usize)> {
        let mut responses = 0;
        let interfere = async {
            while let Some(_response) = self.response(1).await {
                responses += 1;
                others(responses).await?;
            }
            Ok(())
        };
        let (said, ()) = tokio::try_join!(client, interfere)?;
        Ok((said, responses))
    }

    /// Loses the client's `nth` get or watch from now on, counted from 1, and opens the network.
    /// Waits no longer than [`REQUEST_TIMEOUT`] for that request. Returns *broken* if the client
    /// waits more than 5 s for the response.
    pub async fn lose(&mut self, nth: usize) -> Result<()> {
        let get_or_watch = async {
            for _ in 1..nth {
                self.request_to(&GET_OR_WATCH).await?.response().await;
            }
            self.request_to(&GET_OR_WATCH).await
        };
        if let Ok(Some(mut lost)) = timeout(REQUEST_TIMEOUT, get_or_watch).await
            && timeout(LIMIT, lost.canceled()).await.is_err()
        {
            return still_waits(LIMIT, "which of your requests has no limit");
        }
        self.open();
        Ok(())
    }
}

/// Returns the verdict on an answer that waits too long for a response that was lost.
pub fn still_waits<T>(limit: Duration, hint: &'static str) -> Result<T> {
    too_slow(format!("after {limit:?}, it still waits for a response that was lost"), hint)
}
