//! Connecting to etcd.

use anyhow::{Result, bail, ensure};
use etcd_client::{BalancedChannelBuilder, Client, Error};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{NO_RESPONSE, is_final, one_line};
use crate::failover::Failover;
use crate::health::{Health, RETRY_INTERVAL, check, check_all, explain};
use crate::login::LoginRetry;
use crate::settings::{CONNECT_TIMEOUT, Settings, WRITE_ENDPOINT, is_endpoint, plain_options};
use crate::within::REQUEST_TIMEOUT;

/// Connects to the etcd that `ETCDCTL_ENDPOINTS` names, or else to the etcd on this machine. If
/// nothing listens on this machine's port, `connect` starts an etcd there first, unless the
/// environment names a user or files for TLS, which a new etcd would not have.
///
/// Each endpoint gets a health check. The client uses the healthy endpoints first. `connect` prints
/// the others on stderr, and the client uses them last, because they may recover. It stays with one
/// member until that member fails, and then goes on to the next ([`Failover`]).
///
/// # Errors
///
/// - A variable has a value that can't be used, or a file for TLS can't be read.
/// - No endpoint is healthy within [`CONNECT_TIMEOUT`]. The error names each endpoint with the
///   cause.
/// - etcd refuses the user, or does not respond to the log-in within [`CONNECT_TIMEOUT`].
/// - etcd can't be started, see [`etcd_server::find_or_start`].
pub async fn connect() -> Result<Client> {
    let settings = Settings::from_env()?;
    let channel = Failover::default(); // keeps the connections of the health check
    let health = match settings.local {
        #[cfg(feature = "server")]
        Some(address) => check_local(&settings, &channel, address).await?,
        _ => check_all(&settings, &channel).await?,
    };
    let health = health.or_error(&settings)?;
    for (endpoint, cause) in &health.unhealthy {
        eprintln!("going on without {endpoint}: {cause}");
    }
    client_of(&settings, &health, channel).await
}

/// Connects as [`connect`] does, but through the caller's channel, and never starts a server.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_through<B>(channel: B) -> Result<Client>
where
    B: BalancedChannelBuilder<Error = Error> + Clone,
{
    let settings = Settings::from_env()?;
    let health = check_all(&settings, &Failover::default()).await?.or_error(&settings)?;
    client_of(&settings, &health, channel).await
}

/// Makes a client of these endpoints, whatever the environment says. Sends nothing yet.
///
/// # Errors
///
/// An endpoint is not `host:port`.
pub async fn connect_to<E: AsRef<str>, S: AsRef<[E]>>(endpoints: S) -> Result<Client> {
    connect_to_through(endpoints, Failover::default()).await
}

/// Makes a client of these endpoints as [`connect_to`] does, but through the caller's channel.
///
/// # Errors
///
/// As [`connect_to`].
pub async fn connect_to_through<E, S, B>(endpoints: S, channel: B) -> Result<Client>
where
    E: AsRef<str>,
    S: AsRef<[E]>,
    B: BalancedChannelBuilder<Error = Error>,
{
    for endpoint in endpoints.as_ref().iter().map(AsRef::as_ref) {
        ensure!(is_endpoint(endpoint), "cannot use {endpoint:?} as an endpoint; {WRITE_ENDPOINT}");
    }
    let options = Some(plain_options());
    Ok(Client::connect_with_balanced_channel(endpoints, options, channel).await?)
}

/// Waits until etcd is healthy again after a stream was lost, on the same member or on another. The
/// next request of the client then opens the connection. Never starts a server.
///
/// # Errors
///
/// etcd is not healthy within [`CONNECT_TIMEOUT`] (and up to [`REQUEST_TIMEOUT`] more).
pub async fn reconnect(client: &Client) -> Result<()> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // Wait before the first check, too: a server that is shutting down may respond once more.
        sleep(RETRY_INTERVAL).await;
        let cause = match timeout(REQUEST_TIMEOUT, check(client.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => explain(None, &error),
            Err(_) => NO_RESPONSE.to_owned(),
        };
        if Instant::now() > deadline {
            // The message names no endpoint: the client does not reveal its endpoints, which may
            // differ from those in the environment.
            bail!("cannot reach etcd: {cause}");
        }
    }
}

/// Checks the health of this machine's etcd. Starts it first if nothing listens on its port.
#[cfg(feature = "server")]
async fn check_local(
    settings: &Settings,
    channel: &Failover,
    address: std::net::SocketAddr,
) -> Result<Health> {
    let mut checks = 0;
    loop {
        tokio::task::spawn_blocking(move || etcd_server::find_or_start(address)).await??;
        let health = check_all(settings, channel).await?;
        checks += 1;
        // After a server was killed, the system accepts connections for it for a moment longer, and
        // then loses them. So `find_or_start` finds nothing to start; try again for a second.
        if !health.is_gone() || checks == 10 {
            return Ok(health);
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Returns a client on `channel` that uses the healthy endpoints first. Logs in if the environment
/// names a user.
async fn client_of<B>(settings: &Settings, health: &Health, channel: B) -> Result<Client>
where
    B: BalancedChannelBuilder<Error = Error> + Clone,
{
    let unhealthy = health.unhealthy.iter().map(|(endpoint, _)| endpoint);
    let endpoints: Vec<_> = health.healthy.iter().chain(unhealthy).map(String::as_str).collect();
    let channel = LoginRetry(channel);
    let connect =
        |options| Client::connect_with_balanced_channel(&endpoints, Some(options), channel.clone());
    let anonymous = settings.options.clone();
    let Some(user) = &settings.user else {
        return Ok(connect(anonymous).await?);
    };
    let with_user = anonymous.clone().with_user(&user.name, &user.password);
    // A member forgets all tokens when it stops, and any token after 5 minutes without use (etcd's
    // --auth-token-ttl). A JWT is outdated as soon as any user or role has changed.
    let with_user = with_user.with_auto_token_refresh(true);
    let (name, at) = (user.display_name(), endpoints.join(", "));
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // A single attempt has no shorter limit: etcd computes a hash of the password, which takes
        // seconds on a busy machine, and it would begin again with each attempt.
        let cause = match timeout_at(deadline, connect(with_user.clone())).await {
            Ok(Ok(client)) => return Ok(client),
            // This etcd has no users. Go on without the name, as etcdctl does.
            Ok(Err(error)) if one_line(&error).ends_with("authentication is not enabled") => {
                return Ok(connect(anonymous).await?);
            }
            Ok(Err(error)) if is_final(&error) => {
                bail!("cannot log in as {name} at {at}: {}", one_line(&error));
            }
            Ok(Err(error)) => one_line(&error),
            Err(_) => NO_RESPONSE.to_owned(),
        };
        // The member is gone, or the cluster elects a leader. Logging in again does no harm.
        ensure!(Instant::now() < deadline, "cannot log in as {name} at {at}: {cause}");
        sleep(RETRY_INTERVAL).await;
    }
}
