//! Connections that are encrypted and verified.

use anyhow::{Result, bail, ensure};
use etcd_client::ConnectOptions;

use crate::config::variable;

/// The files that the environment names for TLS.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "they are read with the feature"))]
pub(crate) struct Files {
    /// Who may vouch for the servers; without it, those that the system trusts.
    pub(crate) ca: Option<String>,
    /// What we show to a server that asks: a certificate, and its key.
    pub(crate) own: Option<(String, String)>,
}

impl Files {
    /// `None` if it names none.
    pub(crate) fn from_env() -> Result<Option<Files>> {
        let ca = variable("ETCDCTL_CACERT")?;
        let own = match (variable("ETCDCTL_CERT")?, variable("ETCDCTL_KEY")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => bail!("ETCDCTL_CERT is set, and ETCDCTL_KEY is not: it takes both"),
            (None, Some(_)) => bail!("ETCDCTL_KEY is set, and ETCDCTL_CERT is not: it takes both"),
        };
        Ok((ca.is_some() || own.is_some()).then_some(Files { ca, own }))
    }
}

/// The endpoints with their `https://`, and the settings for them. As in etcdctl, an endpoint
/// without `http://` or `https://` means TLS if the environment names files for it.
pub(crate) fn secure(
    mut endpoints: Vec<String>,
    files: Option<Files>,
    options: ConnectOptions,
) -> Result<(Vec<String>, ConnectOptions)> {
    for endpoint in endpoints.iter_mut().filter(|endpoint| !endpoint.contains("://")) {
        if files.is_some() {
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
        "cannot use {} together: with and without TLS",
        endpoints.join(",")
    );
    let unverified = variable("ETCDCTL_INSECURE_SKIP_TLS_VERIFY")?;
    ensure!(
        unverified.is_none_or(|value| ["0", "f", "false"].contains(&&*value.to_lowercase())),
        "ETCDCTL_INSECURE_SKIP_TLS_VERIFY is set, but these programs always verify a server; \
         unset it, and name who vouches for the server in ETCDCTL_CACERT"
    );
    let options = with_tls(options, files)?;
    Ok((endpoints, options))
}

/// The settings with these files; without any, with who the system trusts.
#[cfg(feature = "tls")]
pub(crate) fn with_tls(options: ConnectOptions, files: Option<Files>) -> Result<ConnectOptions> {
    use anyhow::Context;
    use etcd_client::{Certificate, Identity, TlsOptions};

    let read = |variable: &str, path: &str| {
        std::fs::read(path).with_context(|| format!("cannot read {path}, which {variable} names"))
    };
    let Files { ca, own } = files.unwrap_or(Files { ca: None, own: None });
    let tls = match ca {
        Some(path) => {
            let pem = read("ETCDCTL_CACERT", &path)?;
            let begin = b"-----BEGIN CERTIFICATE-----";
            ensure!(
                pem.windows(begin.len()).any(|bytes| bytes == begin),
                "{path}, which ETCDCTL_CACERT names, has no certificate"
            );
            TlsOptions::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => TlsOptions::new().with_native_roots(),
    };
    let tls = match own {
        Some((certificate, key)) => tls.identity(Identity::from_pem(
            read("ETCDCTL_CERT", &certificate)?,
            read("ETCDCTL_KEY", &key)?,
        )),
        None => tls,
    };
    Ok(options.with_tls(tls))
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: ConnectOptions, _: Option<Files>) -> Result<ConnectOptions> {
    let program = std::env::current_exe()?;
    let name = program.file_stem().unwrap_or_default().display();
    let is_example = program.parent().is_some_and(|folder| folder.ends_with("examples"));
    let which = if is_example { "--example" } else { "-p" };
    bail!(
        "this etcd is to be reached by TLS, which the programs are built without; \
         type: cargo run {which} {name} --features common/tls"
    )
}
