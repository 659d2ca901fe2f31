//! The health check of the endpoints: which of them work now, and why the others don't.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use etcd_client::{Client, Error};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Code;

use crate::error::{LOST, NO_RESPONSE, REFUSED, code, one_line};
use crate::failover::Failover;
use crate::settings::{CONNECT_TIMEOUT, Settings};
use crate::within::REQUEST_TIMEOUT;

/// The time between two attempts to reach the same endpoint: 100 ms.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

const NO_LEADER: &str = "no leader, because this member cannot reach a majority of its cluster";

/// The result of a health check, in the order of the endpoints.
pub(crate) struct Health {
    pub(crate) healthy: Vec<String>,
    /// The other endpoints, each with the cause.
    pub(crate) unhealthy: Vec<(String, String)>,
}

impl Health {
    /// Whether all servers were gone when they were checked.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "no server is started"))]
    pub(crate) fn is_gone(&self) -> bool {
        let gone = |cause: &str| cause == REFUSED || cause.contains(LOST);
        self.healthy.is_empty() && self.unhealthy.iter().all(|(_, cause)| gone(cause))
    }

    /// Returns the health itself if an endpoint is healthy, or else an error with the causes.
    pub(crate) fn or_error(self, settings: &Settings) -> Result<Health> {
        if self.healthy.is_empty() {
            // Without a network, no program uses the port, and no variable is at fault.
            let is_cut_off = |(_, cause): &(_, String)| cause.starts_with("Network is unreachable");
            let advice = match self.unhealthy.iter().all(is_cut_off) {
                true => "this machine has no network to that address",
                false => settings.advice,
            };
            bail!("cannot reach etcd at {}; {advice}", join_by_cause(self.unhealthy));
        }
        Ok(self)
    }
}

/// Reads a key, as `etcdctl endpoint health` does, because a read needs a majority of the cluster.
/// (`Client::connect` succeeds even if nothing listens, and `status` even on a member without a
/// majority.) Tries again while the leader changes, so the caller must set a limit.
pub(crate) async fn check(mut client: Client) -> Result<(), Error> {
    loop {
        match client.get("health", None).await {
            // This user may not read the key, but etcd had to be healthy to find that out.
            Err(error) if code(&error) == Some(Code::PermissionDenied) => return Ok(()),
            // The request came before the change. The new leader can carry it out.
            Err(error) if one_line(&error) == "etcdserver: leader changed" => {}
            response => return response.map(drop),
        }
    }
}

/// Checks all endpoints at the same time, on connections that `channel` keeps. As soon as one
/// endpoint is healthy, the others have [`REQUEST_TIMEOUT`] left.
pub(crate) async fn check_all(settings: &Settings, channel: &Failover) -> Result<Health> {
    let (sender, mut results) = mpsc::unbounded_channel();
    let mut checks = JoinSet::new(); // dropping the set ends the checks
    for (index, endpoint) in settings.endpoints.iter().enumerate() {
        let options = Some(settings.options.clone());
        let client =
            Client::connect_with_balanced_channel([endpoint], options, channel.clone()).await;
        let client = client.map_err(|error| {
            let error = one_line(&error);
            match endpoint.starts_with("https://") {
                true => anyhow!("cannot use ETCDCTL_CERT and ETCDCTL_KEY with {endpoint}: {error}"),
                false => anyhow!("cannot use {endpoint} as an endpoint: {error}"),
            }
        })?;
        let (endpoint, has_user) = (endpoint.clone(), settings.user.is_some());
        let sender = sender.clone();
        checks.spawn(async move {
            let report = |result| {
                let _ = sender.send((index, result)); // cannot fail: `results` outlives the tasks
            };
            check_until_final(client, endpoint, has_user, report).await;
        });
    }
    drop(sender); // or `results` would never end: each task has its own clone

    let mut last: Vec<_> = settings.endpoints.iter().map(|_| Err(NO_RESPONSE.to_owned())).collect();
    let mut deadline = Instant::now() + CONNECT_TIMEOUT;
    while let Ok(Some((index, result))) = timeout_at(deadline, results.recv()).await {
        if result.is_ok() {
            deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
        }
        last[index] = result;
    }
    let (mut healthy, mut unhealthy) = (Vec::new(), Vec::new());
    for (endpoint, result) in settings.endpoints.iter().zip(last) {
        match result {
            Ok(()) => healthy.push(endpoint.clone()),
            Err(cause) => unhealthy.push((endpoint.clone(), cause)),
        }
    }
    Ok(Health { healthy, unhealthy })
}

/// Checks one endpoint until it is healthy or can't become healthy, and reports each result.
async fn check_until_final(
    client: Client,
    endpoint: String,
    has_user: bool,
    report: impl Fn(Result<(), String>),
) {
    loop {
        let cause = match timeout(REQUEST_TIMEOUT, check(client.clone())).await {
            Ok(Ok(())) => return report(Ok(())),
            // Logging in comes later.
            Ok(Err(error)) if has_user && wants_user(&error) => return report(Ok(())),
            Ok(Err(error)) => explain(Some(&endpoint), &error),
            Err(_) => NO_RESPONSE.to_owned(),
        };
        let may_pass = [NO_RESPONSE, NO_LEADER].contains(&&*cause);
        report(Err(cause));
        if !may_pass {
            return;
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Joins the causes into one text, each behind the endpoints that share it.
fn join_by_cause(unhealthy: Vec<(String, String)>) -> String {
    let mut causes: Vec<(String, String)> = Vec::new();
    for (endpoint, cause) in unhealthy {
        match causes.iter_mut().find(|(_, known)| *known == cause) {
            Some((endpoints, _)) => *endpoints += &format!(", {endpoint}"),
            None => causes.push((endpoint, cause)),
        }
    }
    let causes = causes.iter().map(|(endpoints, cause)| format!("{endpoints}: {cause}"));
    causes.collect::<Vec<_>>().join("; nor at ")
}

/// Returns the cause for which an endpoint that returned `error` is unhealthy, and what to do.
/// `endpoint` is `None` if the caller has only a client, which doesn't reveal its endpoints.
pub(crate) fn explain(endpoint: Option<&str>, error: &Error) -> String {
    let text = one_line(error);
    match code(error) {
        _ if wants_user(error) => {
            "this etcd has users; set ETCDCTL_USER to name:password".to_owned()
        }
        Some(Code::Unavailable) if text.ends_with("no leader") => NO_LEADER.to_owned(),
        // The client makes these codes up for a server that doesn't speak gRPC.
        Some(Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal) => {
            let guess = match endpoint {
                None => "the server there is not etcd, or it expects TLS or another certificate",
                Some(endpoint) if endpoint.starts_with("https://") => {
                    "the server ends the connection; check ETCDCTL_CERT and ETCDCTL_KEY"
                }
                Some(_) => "the server there is not etcd, or it expects TLS",
            };
            format!("{guess} ({text})")
        }
        Some(Code::Unavailable) if text.ends_with("handshake eof") => {
            format!("the server there does not use TLS; write http:// before its address ({text})")
        }
        _ => text,
    }
}

/// Whether etcd refused a client because it has users and the client has not logged in.
fn wants_user(error: &Error) -> bool {
    one_line(error).ends_with("user name is empty")
}
