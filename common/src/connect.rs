//! Connecting to etcd.

use anyhow::{Result, bail, ensure};
use etcd_client::{BalancedChannelBuilder, Client, Error};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{NO_RESPONSE, is_final, one_line};
use crate::failover::Failover;
use crate::health::{Health, RETRY_INTERVAL, check, check_all, explain};
use crate::login::LogsIn;
use crate::settings::{CONNECT_TIMEOUT, Settings, WRITE_ENDPOINT, is_endpoint, plain_options};
use crate::within::REQUEST_TIMEOUT;

/// Connects to the etcd that `ETCDCTL_ENDPOINTS` names, or else to the one on this machine. That
/// one is started first if nothing listens on its port. None is started if the environment names a
/// user or files for TLS.
///
/// Every endpoint gets a health check. The client tries the healthy ones first. The others are named
/// on stderr and come last. The client goes on with the connections of the health check. It stays with
/// one member until that member fails, and then goes on to the next ([`Failover`]).
///
/// # Errors
///
/// - A variable is set to something that cannot be used, or a file for TLS cannot be read.
/// - No endpoint is healthy within [`CONNECT_TIMEOUT`]. The error names each of them with the cause.
/// - etcd refuses the user, or does not respond to the log-in within [`CONNECT_TIMEOUT`].
/// - etcd cannot be started, see [`etcd_server::find_or_start`].
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

/// Connects as [`connect`] does, but with a channel of the caller's, and never starts a server.
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

/// Makes a client of these endpoints, whatever the environment says. It sends nothing yet.
///
/// # Errors
///
/// An endpoint is not `host:port`.
pub async fn connect_to<E: AsRef<str>, S: AsRef<[E]>>(endpoints: S) -> Result<Client> {
    connect_to_through(endpoints, Failover::default()).await
}

/// Makes a client of these endpoints as [`connect_to`] does, but with a channel of the caller's.
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

/// Waits until etcd is healthy again after a stream was lost, on the same member or another one. The
/// client connects by itself with its next request. Never starts a server.
///
/// # Errors
///
/// etcd is not healthy within [`CONNECT_TIMEOUT`] (and up to [`REQUEST_TIMEOUT`] more).
pub async fn reconnect(client: &Client) -> Result<()> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // A server that is shutting down may respond once more.
        sleep(RETRY_INTERVAL).await;
        let cause = match timeout(REQUEST_TIMEOUT, check(client.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => explain(None, &error),
            Err(_) => NO_RESPONSE.to_owned(),
        };
        if Instant::now() > deadline {
            // The client does not tell its endpoints, and it may have others than the environment.
            bail!("cannot reach etcd: {cause}");
        }
    }
}

/// Checks the etcd of this machine, which is started first if nothing listens on its port.
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
        // For a moment the system still accepts connections for a server that was killed, and then
        // loses them. So this looks again, for about a second.
        if !health.is_gone() || checks == 10 {
            return Ok(health);
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Returns a client on this channel, of the healthy endpoints first and then of the others, which
/// may recover. Logs in if the environment names a user.
async fn client_of<B>(settings: &Settings, health: &Health, channel: B) -> Result<Client>
where
    B: BalancedChannelBuilder<Error = Error> + Clone,
{
    let unhealthy = health.unhealthy.iter().map(|(endpoint, _)| endpoint);
    let endpoints: Vec<_> = health.healthy.iter().chain(unhealthy).map(String::as_str).collect();
    let channel = LogsIn(channel);
    let connect =
        |options| Client::connect_with_balanced_channel(&endpoints, Some(options), channel.clone());
    let anonymous = settings.options.clone();
    let Some(user) = &settings.user else {
        return Ok(connect(anonymous).await?);
    };
    let named = anonymous.clone().with_user(&user.name, &user.password);
    // A member forgets its tokens when it ends, and those that were not used for 5 minutes
    // (etcd's --auth-token-ttl). A JWT is outdated when any user or role was changed.
    let named = named.with_auto_token_refresh(true);
    let (name, at) = (user.display_name(), endpoints.join(", "));
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // No limit of its own for an attempt: etcd computes a hash of the password, which takes
        // seconds on a busy machine, and would begin again with each attempt.
        let cause = match timeout_at(deadline, connect(named.clone())).await {
            Ok(Ok(client)) => return Ok(client),
            // This etcd has no users. etcdctl goes on without the name, too.
            Ok(Err(error)) if one_line(&error).ends_with("authentication is not enabled") => {
                return Ok(connect(anonymous).await?);
            }
            Ok(Err(error)) if is_final(&error) => {
                bail!("cannot log in as {name} at {at}: {}", one_line(&error));
            }
            Ok(Err(error)) => one_line(&error),
            Err(_) => NO_RESPONSE.to_owned(),
        };
        // The member is gone, or the cluster elects a leader: a retry does no harm.
        ensure!(Instant::now() < deadline, "cannot log in as {name} at {at}: {cause}");
        sleep(RETRY_INTERVAL).await;
    }
}
