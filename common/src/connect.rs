//! Connecting to etcd: asking the servers which of them can be used, and logging in.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use etcd_client::{BalancedChannelBuilder, Client, Error};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Code;

use crate::error::{NO_ANSWER, code, one_line};
use crate::failover::Failover;
use crate::settings::{CONNECT_TIMEOUT, Settings, plain_options};
use crate::within::REQUEST_TIMEOUT;

/// Between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(100);

/// Connects to the etcd that `ETCDCTL_ENDPOINTS` names, or else to the one on
/// this machine, which is started first if nothing listens on its port.
///
/// Of several endpoints the client uses those that answer now; the others are
/// named on stderr, and used when none of the first answers any more. It stays
/// with one as long as that answers, and then goes on to the next ([`Failover`]).
///
/// # Errors
///
/// One line that names each address with the cause: within [`CONNECT_TIMEOUT`],
/// with a user up to twice that, or within [`etcd_server::START_LIMIT`] if an etcd had
/// to be started.
pub async fn connect() -> Result<Client> {
    let target = Settings::from_env()?;
    if let Some(address) = target.local
        && !etcd_server::is_taken(address)
    {
        tokio::task::spawn_blocking(move || etcd_server::find_or_start(address)).await??;
    }
    let answers = target.ask_all().await?;
    for (endpoint, cause) in &answers.without {
        eprintln!("without {endpoint}: {cause}");
    }
    match (&answers.there[..], &answers.without[..]) {
        ([(_, client)], []) if target.user.is_none() => Ok(client.clone()),
        _ => target.log_in(&answers, Failover).await,
    }
}

/// Connects to the same servers on a channel of the caller's. Never starts one.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_through<B>(channel: B) -> Result<Client>
where
    B: BalancedChannelBuilder<Error = Error> + Clone,
{
    let target = Settings::from_env()?;
    target.log_in(&target.ask_all().await?, channel).await
}

/// Connects to these endpoints, whatever the environment says, without asking them anything.
pub async fn connect_to<E: AsRef<str>, S: AsRef<[E]>>(endpoints: S) -> Result<Client> {
    let options = Some(plain_options());
    Ok(Client::connect_with_balanced_channel(endpoints, options, Failover).await?)
}

/// Waits, after a stream was lost, until etcd can be reached again, if need be by
/// another member. Never starts a server.
///
/// # Errors
///
/// It cannot for [`CONNECT_TIMEOUT`], and up to [`REQUEST_TIMEOUT`] more.
pub async fn reconnect(client: &Client) -> Result<()> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        // A server that is going down may answer once more.
        sleep(PAUSE).await;
        let cause = match timeout(REQUEST_TIMEOUT, ask(client.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => one_line(&error),
            Err(_) => NO_ANSWER.to_owned(),
        };
        if Instant::now() > deadline {
            bail!("cannot reach etcd at {}: {cause}", Settings::from_env()?.endpoints.join(", "));
        }
    }
}

impl Settings {
    /// Asks all servers at the same time which of them can be used now. When one has answered, the
    /// others have [`REQUEST_TIMEOUT`] left.
    pub(crate) async fn ask_all(&self) -> Result<Answers> {
        let (sender, mut answers) = mpsc::unbounded_channel();
        let mut asking = JoinSet::new(); // until this is dropped
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let options = Some(self.options.clone());
            let client = Client::connect_with_balanced_channel([endpoint], options, Failover).await;
            let client = client.map_err(|error| {
                let secure = endpoint.starts_with("https://");
                let with = if secure { " with ETCDCTL_CERT and ETCDCTL_KEY" } else { "" };
                anyhow!("cannot use {endpoint}{with}: {}", one_line(&error))
            })?;
            let (endpoint, has_user) = (endpoint.clone(), self.user.is_some());
            let sender = sender.clone();
            asking.spawn(async move {
                let told = |answer| sender.send((index, answer)).is_ok();
                keep_asking(client, endpoint, has_user, told).await;
            });
        }
        drop(sender); // those of the tasks end with them

        let mut last: Vec<_> = self.endpoints.iter().map(|_| Err(NO_ANSWER.to_owned())).collect();
        let mut deadline = Instant::now() + CONNECT_TIMEOUT;
        while let Ok(Some((index, answer))) = timeout_at(deadline, answers.recv()).await {
            if answer.is_ok() {
                deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
            }
            last[index] = answer;
        }
        let (mut there, mut without) = (Vec::new(), Vec::new());
        for (endpoint, answer) in self.endpoints.iter().zip(last) {
            match answer {
                Ok(client) => there.push((endpoint.clone(), client)),
                Err(cause) => without.push((endpoint.clone(), cause)),
            }
        }
        if there.is_empty() {
            bail!("cannot reach etcd at {} ({})", each_cause_once(without), self.advice);
        }
        Ok(Answers { there, without })
    }

    /// A client on this channel. It uses the servers that have answered first; the others may
    /// come back.
    pub(crate) async fn log_in<B>(&self, answers: &Answers, channel: B) -> Result<Client>
    where
        B: BalancedChannelBuilder<Error = Error> + Clone,
    {
        let there = answers.there.iter().map(|(endpoint, _)| endpoint.as_str());
        let without = answers.without.iter().map(|(endpoint, _)| endpoint.as_str());
        let endpoints: Vec<_> = there.chain(without).collect();
        let connect = |options| {
            Client::connect_with_balanced_channel(&endpoints, Some(options), channel.clone())
        };
        let anonymous = self.options.clone();
        let Some(user) = &self.user else {
            return Ok(connect(anonymous).await?);
        };
        let known = anonymous.clone().with_user(&user.name, &user.password);
        // A member forgets its tokens when it ends, and those not used for 5 minutes.
        let known = known.with_auto_token_refresh(true);
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            let cause = match timeout(REQUEST_TIMEOUT, connect(known.clone())).await {
                Ok(Ok(client)) => return Ok(client),
                // Nobody needs a name there. etcdctl goes on without it, too.
                Ok(Err(error)) if code(&error) == Some(Code::FailedPrecondition) => {
                    return Ok(connect(anonymous).await?);
                }
                Ok(Err(error)) if code(&error) == Some(Code::InvalidArgument) => {
                    let (name, at) = (user.shown(), endpoints.join(", "));
                    bail!("{name} cannot log in at {at}: {}", one_line(&error));
                }
                Ok(Err(error)) => one_line(&error),
                Err(_) => NO_ANSWER.to_owned(),
            };
            // The member has gone, or a leader is elected: another attempt does no harm.
            ensure!(
                Instant::now() < deadline,
                "cannot log in at {}: {cause}",
                endpoints.join(", ")
            );
            sleep(PAUSE).await;
        }
    }
}

/// What the servers have said: which can be used, with a client of each (without a user), and why
/// the others cannot.
pub(crate) struct Answers {
    pub(crate) there: Vec<(String, Client)>,
    pub(crate) without: Vec<(String, String)>,
}

const NO_LEADER: &str = "it has no leader, as it does not see a majority of its cluster";

/// Asks for something that takes a majority of the cluster, as `etcdctl endpoint health` does.
/// `Client::connect` only notes the address and succeeds with nobody there, and a member that
/// is cut off from the others still tells its status.
pub(crate) async fn ask(mut client: Client) -> Result<(), Error> {
    loop {
        match client.get("health", None).await {
            // The key is not for us, but etcd has looked.
            Err(error) if code(&error) == Some(Code::PermissionDenied) => return Ok(()),
            // It has been asked before the change, and can be asked again.
            Err(error) if one_line(&error) == "etcdserver: leader changed" => {}
            answer => return answer.map(drop),
        }
    }
}

/// Asks a server until the answer is final, and tells each answer.
async fn keep_asking(
    client: Client,
    endpoint: String,
    has_user: bool,
    tell: impl Fn(Result<Client, String>) -> bool,
) {
    loop {
        let cause = match timeout(REQUEST_TIMEOUT, ask(client.clone())).await {
            Ok(Err(error)) if !(has_user && wants_user(&error)) => explain(&endpoint, &error),
            Err(_) => NO_ANSWER.to_owned(),
            Ok(_) => {
                tell(Ok(client));
                return;
            }
        };
        let may_pass = [NO_ANSWER, NO_LEADER].contains(&&*cause);
        if !tell(Err(cause)) || !may_pass {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The causes, each with all the endpoints that have it.
fn each_cause_once(without: Vec<(String, String)>) -> String {
    let mut causes: Vec<(String, String)> = Vec::new();
    for (endpoint, cause) in without {
        match causes.iter_mut().find(|(_, known)| *known == cause) {
            Some((endpoints, _)) => *endpoints += &format!(", {endpoint}"),
            None => causes.push((endpoint, cause)),
        }
    }
    let causes = causes.iter().map(|(endpoints, cause)| format!("{endpoints}: {cause}"));
    causes.collect::<Vec<_>>().join("; nor at ")
}

/// Why a server cannot be used that has answered like this.
fn explain(endpoint: &str, error: &Error) -> String {
    let text = one_line(error);
    match code(error) {
        _ if wants_user(error) => "it has users: set ETCDCTL_USER to name:password".to_owned(),
        Some(Code::Unavailable) if text.ends_with("no leader") => NO_LEADER.to_owned(),
        // gRPC's own words, where there is no gRPC.
        Some(Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal) => {
            let guess = match endpoint.starts_with("https://") {
                true => "it ends the connection: check ETCDCTL_CERT and ETCDCTL_KEY",
                false => "what answers there is not etcd, or expects TLS",
            };
            format!("{guess} ({text})")
        }
        Some(Code::Unavailable) if text.ends_with("handshake eof") => {
            format!("what answers there expects no TLS ({text})")
        }
        _ => text,
    }
}

/// Whether etcd has answered that it has users, and wants to know which one we are.
fn wants_user(error: &Error) -> bool {
    one_line(error).ends_with("user name is empty")
}
