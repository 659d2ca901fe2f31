//! Which etcd is meant, and whether it is there.

use std::env::{self, VarError};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use etcd_client::{Client, ConnectOptions, Error};
use tokio::time::timeout;

use crate::{CONNECT_TIMEOUT, short, within};

/// The servers to talk to.
pub(crate) struct Target {
    pub(crate) endpoints: Vec<String>,
    /// This machine's etcd, which may be started; `None` if the environment
    /// names another.
    pub(crate) local: Option<SocketAddr>,
}

impl Target {
    /// Reads `ETCDCTL_ENDPOINTS` as etcdctl does: separated by commas, and the
    /// same as not set when empty. Without it, `ETCD_LOCAL_PORT` (2379) counts.
    pub(crate) fn from_env() -> Result<Target> {
        match variable("ETCDCTL_ENDPOINTS")? {
            Some(list) => Target::remote(&list),
            None => Target::local(variable("ETCD_LOCAL_PORT")?.as_deref().unwrap_or("2379")),
        }
    }

    fn remote(list: &str) -> Result<Target> {
        let named = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        let endpoints: Vec<String> = named.map(str::to_owned).collect();
        ensure!(
            !endpoints.is_empty(),
            "ETCDCTL_ENDPOINTS is set to {list:?}, which names no endpoint; unset it, or write host:port"
        );
        for endpoint in &endpoints {
            ensure!(
                !endpoint.starts_with("https://"),
                "cannot use {endpoint} from ETCDCTL_ENDPOINTS: these programs are built without TLS"
            );
            ensure!(
                is_endpoint(endpoint),
                "cannot use {endpoint:?} from ETCDCTL_ENDPOINTS: write host:port or http://host:port"
            );
        }
        Ok(Target { endpoints, local: None })
    }

    fn local(port: &str) -> Result<Target> {
        let port: NonZeroU16 = port
            .parse()
            .map_err(|_| anyhow!("ETCD_LOCAL_PORT is set to {port:?}, which is not a port"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.get()));
        Ok(Target { endpoints: vec![address.to_string()], local: Some(address) })
    }

    /// What to do when none of these servers answers.
    pub(crate) fn advice(&self) -> &'static str {
        match self.local {
            None => "named by ETCDCTL_ENDPOINTS; unset it to use an etcd on this machine",
            Some(_) => "stop what holds that port, or set ETCD_LOCAL_PORT to a free one",
        }
    }

    /// Connects to those of the servers that answer now. etcd-client alone would
    /// take turns with those that do not.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Client> {
        let (there, client) = self.answering(limit).await?;
        match &there[..] {
            [_] => Ok(client),
            _ => within(limit, Client::connect(there, Some(options()))).await,
        }
    }

    /// Those of the servers that answer now, and a client of the last one.
    pub(crate) async fn answering(&self, limit: Duration) -> Result<(Vec<String>, Client)> {
        let ask = |endpoint: &String| tokio::spawn(ask(endpoint.clone(), limit));
        let asked: Vec<_> = self.endpoints.iter().map(ask).collect();
        let (mut last, mut there, mut causes) = (None, Vec::new(), Vec::new());
        for (endpoint, answer) in self.endpoints.iter().zip(asked) {
            match answer.await? {
                Err(cause) => causes.push(format!("{endpoint}: {cause}")),
                Ok(client) => {
                    last = Some(client);
                    there.push(endpoint.clone());
                }
            }
        }
        match last {
            None => bail!("cannot reach etcd at {}", causes.join(", nor at ")),
            Some(client) => Ok((there, client)),
        }
    }
}

/// Connects to one server. `Client::connect` only notes the address and succeeds
/// with nobody there, so this asks the server for its status too.
async fn ask(endpoint: String, limit: Duration) -> Result<Client> {
    let status = async {
        let mut client = Client::connect([endpoint], Some(options())).await?;
        client.status().await?;
        Ok(client)
    };
    match timeout(limit, status).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) if is_foreign(&error) => {
            bail!("what answers there is not etcd, or expects TLS ({})", short(&error))
        }
        Ok(Err(error)) => bail!(short(&error)),
        Err(_) => bail!("no answer within {limit:.0?}"),
    }
}

/// The settings of every connection.
pub fn options() -> ConnectOptions {
    ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        // Notices a server that is frozen or cut off. etcd drops a client that
        // asks more often than every 5 s (its --grpc-keepalive-min-time).
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
}

/// Whether this is `host:port`, with or without `http://`. etcd-client takes
/// more: it would dial port 80 for a bare host, and any name before `://`.
fn is_endpoint(text: &str) -> bool {
    let address = text.strip_prefix("http://").unwrap_or(text);
    let Some((host, port)) = address.trim_end_matches('/').rsplit_once(':') else {
        return false;
    };
    !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
}

/// Whether something answered, but not in etcd's protocol: with a code that gRPC
/// itself gives where there is no gRPC (cancelled, unknown, unimplemented, internal).
fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if matches!(i32::from(status.code()), 1 | 2 | 12 | 13))
}

fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            bail!("{name} is set to something that is not UTF-8")
        }
    }
}
