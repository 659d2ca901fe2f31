//! The settings of a connection. No other module reads the environment.

use std::env::{self, VarError};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::ConnectOptions;
use tonic::codegen::http::uri::Authority;

use crate::tls::{TlsFiles, with_tls};

/// How long [`connect`](crate::connect()) waits for a healthy etcd: 5 s, as in the Go tutorial.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The endpoints to connect to, and how.
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    /// The address at which an etcd may be started. `None` if the environment names endpoints, or a
    /// user or files for TLS, which a new etcd would not have.
    pub(crate) local: Option<SocketAddr>,
    /// The options of every connection, without the user.
    pub(crate) options: ConnectOptions,
    pub(crate) user: Option<User>,
    /// The remedy, for the case that no endpoint is healthy.
    pub(crate) advice: &'static str,
}

impl Settings {
    /// Reads the variables that etcdctl reads, with the same meaning. If they name no endpoint, the
    /// etcd is at port `ETCD_LOCAL_PORT` of this machine (2379 if unset).
    pub(crate) fn from_env() -> Result<Settings> {
        let (user, files) = (User::from_env()?, tls_files()?);
        let (endpoints, address, advice) = match variable("ETCDCTL_ENDPOINTS")? {
            Some(list) => {
                let advice = "check ETCDCTL_ENDPOINTS, or unset that variable to use an etcd on this machine";
                (parse_endpoints(&list)?, None, advice)
            }
            None => {
                let advice = if cfg!(feature = "server") {
                    "stop the program that uses that port, or set ETCD_LOCAL_PORT to a free port"
                } else {
                    "start an etcd at that address, or set ETCDCTL_ENDPOINTS to the address of yours"
                };
                let address =
                    local_address(variable("ETCD_LOCAL_PORT")?.as_deref().unwrap_or("2379"))?;
                (vec![address.to_string()], Some(address), advice)
            }
        };
        let local = address.filter(|_| user.is_none() && files.is_none());
        let advice = match (local, address) {
            (None, Some(_)) => {
                "to start an etcd here, unset ETCDCTL_USER, ETCDCTL_CACERT and ETCDCTL_CERT"
            }
            _ => advice,
        };
        let (endpoints, options) = apply_tls(endpoints, files, plain_options())?;
        Ok(Settings { endpoints, local, options, user, advice })
    }
}

/// The options of every connection, whatever the environment says.
pub(crate) fn plain_options() -> ConnectOptions {
    ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        // Pings, so that a request fails if the server is frozen or cut off. 6 s, because etcd
        // closes the connection of a client that pings more often than every 5 s
        // (its --grpc-keepalive-min-time).
        .with_keep_alive(Duration::from_secs(6), Duration::from_secs(4))
        // Makes a member that is cut off from the others refuse requests and end its watches,
        // instead of keeping them waiting.
        .with_require_leader(true)
}

/// The name and the password to log in with.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl User {
    /// Returns the name up to the first colon. The rest may be a password, which no message may
    /// contain.
    pub(crate) fn display_name(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }

    fn from_env() -> Result<Option<User>> {
        let Some(user) = variable("ETCDCTL_USER")? else { return Ok(None) };
        // As in etcdctl: with ETCDCTL_PASSWORD, a colon belongs to the name.
        let (name, password) = match (variable("ETCDCTL_PASSWORD")?, user.split_once(':')) {
            (Some(password), _) => (user, password),
            (None, Some((name, password))) => (name.to_owned(), password.to_owned()),
            (None, None) => bail!(
                "cannot use ETCDCTL_USER: {user:?} has no password; \
                 set ETCDCTL_PASSWORD, or write name:password"
            ),
        };
        ensure!(
            !name.is_empty(),
            "cannot use ETCDCTL_USER: no name is before the colon; write name:password"
        );
        Ok(Some(User { name, password }))
    }
}

/// Returns the files for TLS that the environment names, if any.
fn tls_files() -> Result<Option<TlsFiles>> {
    let ca = variable("ETCDCTL_CACERT")?;
    let own = match (variable("ETCDCTL_CERT")?, variable("ETCDCTL_KEY")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => bail!("cannot use ETCDCTL_CERT without ETCDCTL_KEY; set both"),
        (None, Some(_)) => bail!("cannot use ETCDCTL_KEY without ETCDCTL_CERT; set both"),
    };
    Ok((ca.is_some() || own.is_some()).then_some(TlsFiles { ca, own }))
}

/// Returns the endpoints with `https://` where they use TLS, and the options for them. As in
/// etcdctl, an endpoint without `http://` or `https://` uses TLS if `files` are named.
fn apply_tls(
    mut endpoints: Vec<String>,
    files: Option<TlsFiles>,
    options: ConnectOptions,
) -> Result<(Vec<String>, ConnectOptions)> {
    if files.is_some() {
        for endpoint in endpoints.iter_mut().filter(|endpoint| !endpoint.contains("://")) {
            *endpoint = format!("https://{endpoint}");
        }
    }
    let is_secure = |endpoint: &&String| endpoint.starts_with("https://");
    let count = endpoints.iter().filter(is_secure).count();
    if count == 0 {
        return Ok((endpoints, options));
    }
    ensure!(
        count == endpoints.len(),
        "cannot use {} together: some use TLS, and some do not; write https:// or http:// before all",
        endpoints.join(",")
    );
    let unverified = variable("ETCDCTL_INSECURE_SKIP_TLS_VERIFY")?;
    ensure!(
        unverified.is_none_or(|value| ["0", "f", "false"].contains(&&*value.to_lowercase())),
        "cannot use ETCDCTL_INSECURE_SKIP_TLS_VERIFY: these programs always verify the server; \
         unset that variable, and name the server's CA certificate in ETCDCTL_CACERT"
    );
    let options = with_tls(options, files.unwrap_or_default())?;
    Ok((endpoints, options))
}

/// Returns the endpoints in `list`, which separates them by commas.
fn parse_endpoints(list: &str) -> Result<Vec<String>> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints: Vec<String> = parts.map(str::to_owned).collect();
    ensure!(
        !endpoints.is_empty(),
        "cannot use ETCDCTL_ENDPOINTS: {list:?} names no endpoint; {WRITE_ENDPOINT}"
    );
    for endpoint in &endpoints {
        ensure!(
            is_endpoint(endpoint),
            "cannot use {endpoint:?} from ETCDCTL_ENDPOINTS; {WRITE_ENDPOINT}"
        );
    }
    Ok(endpoints)
}

/// Returns the address of the etcd at `port` of this machine.
fn local_address(port: &str) -> Result<SocketAddr> {
    let number: Option<NonZeroU16> = port.parse().ok();
    let number = number.with_context(|| {
        format!(
            "cannot use ETCD_LOCAL_PORT: {port:?} is not a port; write a number from 1 to 65535"
        )
    })?;
    Ok(SocketAddr::from(([127, 0, 0, 1], number.get())))
}

pub(crate) const WRITE_ENDPOINT: &str = "write host:port, http://host:port or https://host:port";

/// Whether `text` is `host:port`, with or without `http://` or `https://`. etcd-client accepts
/// more, and would connect to port 80 if the port were missing.
pub(crate) fn is_endpoint(text: &str) -> bool {
    let address = text.strip_prefix("http://").or(text.strip_prefix("https://")).unwrap_or(text);
    let Ok(authority) = address.strip_suffix('/').unwrap_or(address).parse::<Authority>() else {
        return false;
    };
    !authority.host().is_empty()
        && !authority.as_str().contains('@') // a user's name
        && authority.port_u16().is_some_and(|port| port > 0)
}

/// Returns the value of an environment variable. An empty variable counts as unset.
fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            bail!("cannot use {name}: its value is not UTF-8; set another value")
        }
    }
}
