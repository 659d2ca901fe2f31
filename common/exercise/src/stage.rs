use std::time::Duration;

use anyhow::Result;
use common::{NO_LIMIT, REQUEST_TIMEOUT};
use tokio::time::timeout;

use crate::network::{Network, PausedRequest, PausedResponse};
use crate::request_log::GET_OR_WATCH;
use crate::verdict::too_slow;

/// How long an answer may wait for what is lost: 5 s.
const LIMIT: Duration = Duration::from_secs(5);

/// What becomes of one request of a client.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing is lost, but others act while its response is on the way.
    Overtaken,
    /// It never arrives.
    RequestLost,
    /// Its response never arrives.
    ResponseLost,
    /// Its response is lost with the connection, and the client learns that at once.
    ConnectionLost,
    /// It arrives after the client's next one.
    Late,
}

/// The outcome of [`Network::play`]. It keeps the lost request or response until it is dropped.
pub struct Played<T> {
    /// What the client says.
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
    /// Runs a client, with a fault at its request of this number, counted from 1, and then lets
    /// others act. The network is open then.
    ///
    /// A client that waits for more than 5 s for what is lost is *broken*. `client` must own its
    /// `Client`.
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

    /// As [`play`](Network::play), with another limit. The caller judges a client that takes longer:
    /// it has said `None`.
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
                // A client that has given up sends none, and may keep its connection.
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

    /// Runs a client. While each response is on its way, others act, who get its number, counted
    /// from 1. Returns what the client says, and how many responses it got. `client` must own its
    /// `Client`.
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

    /// Loses the client's `nth` get or watch from now on, counted from 1, and opens the network. The
    /// client may send fewer, until the [`REQUEST_TIMEOUT`]. Returns *broken* if it waits for the
    /// response for more than 5 s.
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

/// Returns the verdict on an answer that waits too long for what is lost.
pub fn still_waits<T>(limit: Duration, look: &'static str) -> Result<T> {
    too_slow(format!("what the network has lost is still waited for after {limit:?}"), look)
}
