use std::time::Duration;

use anyhow::Result;
use common::{NO_LIMIT, REQUEST_TIMEOUT};
use tokio::time::timeout;

use crate::sent::GET_OR_WATCH;
use crate::verdict::broken;
use crate::wire::{PausedResponse, Wire};

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

impl Wire {
    /// Runs a client, with a fault at its request of this number, counted from 1, and then lets others act.
    /// Returns what the client says, and whether there was such a request. The wire is open then.
    ///
    /// Who waits for more than 5 s for what is lost is *broken*. `client` must own its `Client`.
    pub async fn play<T>(
        &mut self,
        fault: Fault,
        nth: usize,
        client: impl Future<Output = Result<T>>,
        others: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<(Result<T>, bool)> {
        let interfere = async {
            for _ in 1..nth {
                self.response(1).await;
            }
            let (mut request, mut response) = match fault {
                Fault::RequestLost | Fault::Late => (self.request().await, None),
                _ => (None, self.response(1).await),
            };
            let is_there = request.is_some() || response.is_some();
            if fault == Fault::Late
                && let Some(request) = request.take()
            {
                let next = self.response(1).await; // none from a client that has given up
                request.arrive_late().await?;
                drop(next);
            }
            if is_there {
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
            anyhow::Ok((is_there, request, response))
        };
        let limit = if fault == Fault::Overtaken { NO_LIMIT } else { LIMIT };
        // What is lost stays in these hands until the client has come to an end.
        let (said, interfered) = tokio::join!(timeout(limit, client), interfere);
        let (is_there, _request, _response) = interfered?;
        match said {
            Ok(said) => Ok((said, is_there)),
            Err(_) => broken(
                format!("what the network has lost is still waited for after {limit:?}"),
                "which of your requests has no limit",
            ),
        }
    }

    /// Loses the client's `nth` get or watch from now on, counted from 1, and opens the wire. The client may send
    /// fewer, until the [`REQUEST_TIMEOUT`]. Returns *broken* if it waits for the response for more than [`LIMIT`].
    pub async fn lose(&mut self, nth: usize) -> Result<()> {
        let get_or_watch = async {
            for _ in 1..nth {
                self.request_to(&GET_OR_WATCH).await?.response().await;
            }
            self.request_to(&GET_OR_WATCH).await
        };
        if let Ok(Some(mut lost)) = timeout(REQUEST_TIMEOUT, get_or_watch).await
            && timeout(LIMIT, lost.given_up()).await.is_err()
        {
            return broken(
                format!("what the network has lost is still waited for after {LIMIT:?}"),
                "which of your requests has no limit",
            );
        }
        self.open();
        Ok(())
    }
}
