//! Encrypted connections to verified servers.

use anyhow::Result;
use etcd_client::ConnectOptions;

/// Whether the programs are built with the feature `tls`.
pub const HAS_TLS: bool = cfg!(feature = "tls");

/// The paths of the files for TLS.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only the feature reads the files"))]
#[derive(Default)]
pub(crate) struct TlsFiles {
    /// The CA certificate of the servers (PEM); if `None`, the system's CA certificates.
    pub(crate) ca: Option<String>,
    /// The client's certificate and its key (PEM), for a server that demands a certificate.
    pub(crate) own: Option<(String, String)>,
}

/// Adds TLS with these files to the options.
#[cfg(feature = "tls")]
pub(crate) fn with_tls(options: ConnectOptions, files: TlsFiles) -> Result<ConnectOptions> {
    use anyhow::{Context, ensure};
    use etcd_client::{Certificate, Identity, TlsOptions};

    let read = |variable: &str, path: &str| {
        std::fs::read(path).with_context(|| format!("cannot read {path}, which {variable} names"))
    };
    let tls = match files.ca {
        Some(path) => {
            let pem = read("ETCDCTL_CACERT", &path)?;
            let begin = b"-----BEGIN CERTIFICATE-----";
            ensure!(
                pem.windows(begin.len()).any(|bytes| bytes == begin),
                "cannot use {path}, which ETCDCTL_CACERT names: the file has no certificate"
            );
            TlsOptions::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => TlsOptions::new().with_native_roots(),
    };
    let tls = match files.own {
        Some((certificate, key)) => tls.identity(Identity::from_pem(
            read("ETCDCTL_CERT", &certificate)?,
            read("ETCDCTL_KEY", &key)?,
        )),
        None => tls,
    };
    Ok(options.with_tls(tls))
}

#[cfg(not(feature = "tls"))]
pub(crate) fn with_tls(_: ConnectOptions, _: TlsFiles) -> Result<ConnectOptions> {
    use anyhow::bail;

    let program = std::env::current_exe()?;
    let name = program.file_stem().unwrap_or_default().display();
    let is_example = program.parent().is_some_and(|folder| folder.ends_with("examples"));
    let which = if is_example { "--example" } else { "-p" };
    bail!(
        "cannot use TLS: this program was built without TLS; \
         type: cargo run {which} {name} --features common/tls"
    )
}
